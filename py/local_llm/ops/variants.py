"""Which variant of a product of a matrix runs: the one tuned for this adapter and shape, or else a rule's.

Pure: knows shapes and `Caps`, no buffers and no times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from local_llm.gpu.ports import Caps
from local_llm.ops.weight import BLOCK, Weight

if TYPE_CHECKING:
    from local_llm.ops.shared import Shared

ENOUGH_WORKGROUPS = 256
MANY_ROWS = 8192
MOST_LANES = 256  # in a workgroup of matvec: what every adapter offers
LEAST_INT8_COLS = 2048  # below, a product waits for other things than its arithmetic (docs/log.md)
INT8_FORMATS = frozenset(  # whose weights are small whole numbers times a scale: lib/bytes_<format>.wgsl
    ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q4f16_1", "q4f32_1")
)


@dataclass(frozen=True)
class Shape:
    """What choices are made for. kernel: "matvec", "matvec_glu" or "matmul". format, rows, cols: of the whole matrix.

    int8: whether the input may be rounded to bytes, some with a scale, so that products are of whole numbers.
    """

    kernel: str
    format: str
    rows: int
    cols: int
    int8: bool = False

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return -(-self.cols // BLOCK)


@dataclass(frozen=True)
class Variant:
    """Which of a kernel's files runs, with which constants, and how many rows of W one workgroup takes.

    int8: it rounds its input to bytes. takes_left: or takes what another product has left so, where one has.
    """

    suffix: str
    constants: Mapping[str, int]
    rows: int
    int8: bool = False
    takes_left: bool = False

    def includes(self, format: str, rows: str = "", left: bool = False) -> dict[str, str]:
        """What the kernel includes for weights of this format. rows: the file that sums rows up, where there is one.

        left: whether another product has left the input rounded.
        """
        if self.int8:
            return {"weight": f"bytes_{format}"} | ({rows: "left_rows" if left else "byte_rows"} if rows else {})
        return {"weight": format}


ROUNDED, EXACT = Variant("_int8", {}, 0, int8=True), Variant("", {}, 0)  # choices for matmul, whose tiles rules decide


def can_round(weight: Weight) -> bool:
    """Whether it pays to round inputs to bytes for products with this weight, and there are kernels for it.

    They take whole blocks; only MLC has rows that end within one, of widths that no model has.
    """
    return weight.format in INT8_FORMATS and weight.cols >= LEAST_INT8_COLS and weight.cols % BLOCK == 0


def shape_of(s: Shared, weight: Weight, kernel: str) -> Shape:
    """kernel: "matvec", "matvec_glu" or "matmul"."""
    return Shape(kernel, weight.format, weight.rows, weight.cols, s.rounded is not None and can_round(weight))


def matvec_variant(s: Shared, weight: Weight, pairs: bool = False) -> Variant:
    """For matvec, and with pairs (of a gate and an up) for matvec_glu."""
    shape = shape_of(s, weight, "matvec_glu" if pairs else "matvec")
    return s.choices.get(shape) or _matvec_rule(s.caps, shape)


def candidates(caps: Caps, shape: Shape) -> tuple[Variant, ...]:
    """What may run for a shape on this adapter, all different: the rule's first, those that round before exact ones."""
    if shape.kernel == "matmul":
        return (ROUNDED, EXACT) if shape.int8 else (EXACT,)
    rule = _matvec_rule(caps, shape)
    if caps.software:
        return (rule,)
    found = [rule]
    for variant in (*(_taking_left(shape) if shape.int8 else ()), *_neighbours(rule)):
        if variant not in found and _possible(caps, shape, variant):
            found.append(variant)
    return (*found, *(candidates(caps, replace(shape, int8=False)) if shape.int8 else ()))


def _matvec_rule(caps: Caps, shape: Shape) -> Variant:
    if caps.software:
        return _serial(shape.rows, shape.cols, 32)
    # Measured on an H200, see docs/log.md: long matrices have rows to spare, so that a lane shares x among four; short
    # ones need many lanes a row, best of all one for each block.
    blocks, rows, pairs = shape.blocks, shape.rows, shape.kernel == "matvec_glu"
    if shape.int8:  # many rows a workgroup, each of which rounds the whole input
        if pairs:
            lanes, teams, each = 16, 8, 4
        else:
            lanes, teams, each = (64, 4, 4 if rows >= 4096 else 2) if blocks >= 256 else (32, 8, 2)
        return _teams(lanes, teams, each, int8=True)
    if blocks <= 48 and rows < 2 * MANY_ROWS:
        lanes, each = max(16, -(-blocks // 4) * 4), 4 if rows >= MANY_ROWS else 2 if rows >= 2048 or pairs else 1
        teams = 8 if each == 1 and lanes <= 32 else 4
    elif rows >= MANY_ROWS:
        lanes, teams, each = (8, 16, 2) if blocks < 32 else (16, 8, 4)
    elif blocks < 192 and (blocks < 128 or rows >= 2048):
        lanes, teams, each = 32, 4, 4 if rows >= 4096 else 2
    else:
        lanes, teams, each = 64, 4, 4 if rows >= 4096 else 2
    return _teams(lanes, teams, each)


def _serial(rows: int, cols: int, most_rows: int) -> Variant:
    # Measured on SwiftShader, see docs/log.md: every load costs some 60 cycles and a barrier thousands, so one lane
    # reads x once for many rows; small matrices need fewer, to have work for all cores.
    each = most_rows if rows >= 2048 else 16
    return Variant("_serial", {"LANES": 4, "ROWS": each, "ALIGNED": cols % BLOCK == 0}, 4 * each)


def _teams(lanes: int, teams: int, each: int, int8: bool = False) -> Variant:
    return Variant("", {"LANES": lanes, "TEAMS": teams, "ROWS": each}, teams * each, int8)


def _taking_left(shape: Shape) -> Iterator[Variant]:
    """Shapes of a workgroup whose own results, too, can be left: 16 or 32 of them (ops.leaving)."""
    if shape.kernel == "matvec_glu":
        found = ((16, 8, 4), (32, 8, 4))
    else:
        found = ((64, 4, 4), (32, 8, 2)) if shape.blocks >= 256 else ((32, 8, 2), (16, 8, 4))
    for lanes, teams, each in found:
        yield replace(_teams(lanes, teams, each, int8=True), takes_left=True)


def _neighbours(rule: Variant) -> Iterator[Variant]:
    """Other shapes of a workgroup: more or fewer rows, teams and lanes, and small ones for GPUs of few lanes."""
    lanes, teams, each = (rule.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    for other in (each * 2, each // 2):
        yield _teams(lanes, teams, other, rule.int8)
    for other in (teams * 2, teams // 2):
        yield _teams(lanes, other, each, rule.int8)
    for other in (lanes * 2, lanes // 8 * 4):
        yield _teams(other, max(1, teams * lanes // other), each, rule.int8)
    for small in (16, 32):
        yield _teams(small, 64 // small, min(each, 2), rule.int8)


def _possible(caps: Caps, shape: Shape, variant: Variant) -> bool:
    lanes, teams, each = (variant.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    return (
        lanes >= 4
        and lanes % 4 == 0
        and 4 <= teams * lanes <= min(caps.max_invocations, MOST_LANES)
        and each in ((2, 4) if shape.kernel == "matvec_glu" else (1, 2, 4))
        and (not variant.int8 or 16 % teams == 0)
        and max(few_bytes(variant, 1), _bytes(variant)) <= caps.workgroup_bytes
    )


def _bytes(variant: Variant) -> int:
    """Workgroup memory of matvec."""
    lanes, teams, each = (variant.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    if variant.int8:
        return few_bytes(variant, 1)
    return 16 * 8 * (lanes + 1) + 4 * teams * each * (lanes + 1) + 4 * lanes * teams  # lib/team_rows.wgsl


def few_bytes(variant: Variant, tokens: int) -> int:
    """Workgroup memory of matvec_few for so many tokens a workgroup."""
    lanes, teams, each = (variant.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    left = 8 * teams * each + 8  # lib/leaving.wgsl
    if variant.int8:  # lib/byte_rows.wgsl
        a_token = (2 * 32 + 8) * lanes + 128 + 4 * teams * each * (lanes + 1) + 4 * lanes * teams
        return 64 * lanes + tokens * (a_token + left)
    return tokens * (16 * max(8, teams) * (lanes + 1) + 4 * lanes * teams + left)  # lib/team_few.wgsl


def matmul_variant(s: Shared, weight: Weight, tokens: int) -> tuple[Variant, int]:
    """Also how many tokens one workgroup takes."""
    if s.caps.software:
        return _serial(weight.rows, weight.cols, 16), 4
    shape = shape_of(s, weight, "matmul")
    if shape.int8 and s.choices.get(shape, ROUNDED).int8:
        lanes, each = (128 if s.caps.workgroup_bytes >= 18 << 10 else 64), 8
        if -(-weight.rows // lanes) * -(-tokens // 64) < ENOUGH_WORKGROUPS // 2:
            lanes, each = 64, 4
        return Variant("_int8", {"LANES": lanes, "EACH": each}, lanes // 8 * each, int8=True), 64
    aligned = {"ALIGNED": weight.cols % BLOCK == 0}
    # Measured on an H200, see docs/log.md: large tiles where enough workgroups are left to fill a GPU.
    if -(-weight.rows // 64) * -(-tokens // 64) < ENOUGH_WORKGROUPS:
        return Variant("", aligned, 64), 32
    largest = (weight.rows >= MANY_ROWS or weight.cols >= 12288) and s.caps.workgroup_bytes >= 24 << 10
    lanes = 128 if largest else 64
    return Variant("_large", {"LANES": lanes, **aligned}, lanes), 64
