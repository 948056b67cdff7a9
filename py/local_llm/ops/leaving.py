"""Results of a product that are left rounded to bytes for the next one, as shaders/lib/left_input.wgsl says.

Only where inputs are rounded anyway: who is to multiply them need not read two to four times as much, nor round it, in
each of hundreds of workgroups. Knows no models.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.gpu.memory import Buffer
from local_llm.ops.variants import Variant
from local_llm.ops.weight import BLOCK, Weight

GROUP = 16  # results that share a scale
LEAVING = "leaving_bytes"  # what kernels that leave something include


@dataclass(frozen=True)
class Leaving:
    """start: u32 of y, a multiple of four, where the first token's is left. gains: f32 [N], of the norm in between.

    Without gains nothing is normed, and it is left at the start of y, in place of the results themselves.
    """

    start: int = 0
    gains: Buffer | None = None


@dataclass(frozen=True)
class Link:
    """From one product to the next. left: u32 where it is left, for who takes it; leaves: for who leaves it."""

    left: int | None = None
    leaves: Leaving | None = None


APART = Link()  # where nothing is left


def left_words(cols: int) -> int:
    """u32 of what is left of a token's row of `cols` results."""
    blocks = cols // BLOCK
    return 4 * (3 * blocks + (blocks + 1) // 2)


def leaves_evenly(variant: Variant, pairs: bool = False) -> bool:
    """Whether a workgroup has all results that share a scale. pairs: of matvec_glu."""
    return not variant.suffix and variant.rows // (1 + pairs) % GROUP == 0


def can_leave(weight: Weight, variant: Variant, pairs: bool = False) -> bool:
    """Whether a product with this weight can leave its results. pairs: of matvec_glu."""
    rows = weight.rows // (1 + pairs)
    whole = all(number % GROUP == 0 for part in weight.parts for number in (part.row_start, part.rows))
    fits = leaves_evenly(variant, pairs) and rows % BLOCK == 0
    return fits and whole and (len(weight.parts) == 1 or not pairs)


def includes(leaves: Leaving | None) -> dict[str, str]:
    """Of a kernel that leaves results, or does not."""
    return {"leaving": LEAVING} if leaves else {}


def constants(leaves: Leaving | None, results: int, row: int) -> dict[str, int]:
    """Of a kernel that leaves `results` of each token from a workgroup, of rows of `row`; none where none are left."""
    return {"LEAVES": results, "OUT": row // BLOCK} if leaves else {}
