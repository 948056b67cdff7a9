"""Which variant of a product of a matrix runs: the one tuned for this adapter and shape, or else a rule's.

Pure: knows shapes and `Caps`, no buffers and no times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_llm.gpu.ports import Caps
from local_llm.ops.weight import BLOCK, Weight

if TYPE_CHECKING:
    from local_llm.ops.shared import Shared

ENOUGH_WORKGROUPS = 256
MANY_ROWS = 8192
MOST_LANES = 256  # in a workgroup of matvec: what every adapter offers


@dataclass(frozen=True)
class Shape:
    """What choices are made for. kernel: "matvec" or "matvec_glu". format, rows, cols: of the whole matrix."""

    kernel: str
    format: str
    rows: int
    cols: int

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return -(-self.cols // BLOCK)


@dataclass(frozen=True)
class Variant:
    """Which of a kernel's files runs, with which constants, and how many rows of W one workgroup takes."""

    suffix: str
    constants: Mapping[str, int]
    rows: int


def matvec_variant(s: Shared, weight: Weight, pairs: bool = False) -> Variant:
    """For matvec, and with pairs (of a gate and an up) for matvec_glu."""
    shape = Shape("matvec_glu" if pairs else "matvec", weight.format, weight.rows, weight.cols)
    return s.choices.get(shape) or _matvec_rule(s.caps, shape)


def candidates(caps: Caps, shape: Shape) -> tuple[Variant, ...]:
    """What may run for a shape on this adapter, all different; the rule's comes first."""
    rule = _matvec_rule(caps, shape)
    if caps.software:
        return (rule,)
    found = [rule]
    for variant in _neighbours(rule):
        if variant not in found and _possible(caps, shape, variant):
            found.append(variant)
    return tuple(found)


def _matvec_rule(caps: Caps, shape: Shape) -> Variant:
    if caps.software:
        return _serial(shape.rows, shape.cols, 32)
    # Measured on an H200, see docs/log.md: long matrices have rows to spare, so that a lane shares x among four; short
    # ones need many lanes a row, best of all one for each block.
    blocks, rows, pairs = shape.blocks, shape.rows, shape.kernel == "matvec_glu"
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


def _teams(lanes: int, teams: int, each: int) -> Variant:
    return Variant("", {"LANES": lanes, "TEAMS": teams, "ROWS": each}, teams * each)


def _neighbours(rule: Variant) -> Iterator[Variant]:
    """Other shapes of a workgroup: more or fewer rows, teams and lanes, and small ones for GPUs of few lanes."""
    lanes, teams, each = (rule.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    for other in (each * 2, each // 2):
        yield _teams(lanes, teams, other)
    for other in (teams * 2, teams // 2):
        yield _teams(lanes, other, each)
    for other in (lanes * 2, lanes // 8 * 4):
        yield _teams(other, max(1, teams * lanes // other), each)
    for small in (16, 32):
        yield _teams(small, 64 // small, min(each, 2))


def _possible(caps: Caps, shape: Shape, variant: Variant) -> bool:
    lanes, teams, each = (variant.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
    tiles = 16 * max(8, teams) * (lanes + 1)  # of lib/team_few.wgsl for one token, which needs no less than team_rows
    return (
        lanes >= 4
        and lanes % 4 == 0
        and 4 <= teams * lanes <= min(caps.max_invocations, MOST_LANES)
        and each in ((2, 4) if shape.kernel == "matvec_glu" else (1, 2, 4))
        and tiles + 4 * lanes * teams <= caps.workgroup_bytes
    )


def matmul_variant(s: Shared, weight: Weight, tokens: int) -> tuple[Variant, int]:
    """Also how many tokens one workgroup takes."""
    if s.caps.software:
        return _serial(weight.rows, weight.cols, 16), 4
    aligned = {"ALIGNED": weight.cols % BLOCK == 0}
    # Measured on an H200, see docs/log.md: large tiles where enough workgroups are left to fill a GPU.
    if -(-weight.rows // 64) * -(-tokens // 64) < ENOUGH_WORKGROUPS:
        return Variant("", aligned, 64), 32
    largest = (weight.rows >= MANY_ROWS or weight.cols >= 12288) and s.caps.workgroup_bytes >= 24 << 10
    lanes = 128 if largest else 64
    return Variant("_large", {"LANES": lanes, **aligned}, lanes), 64
