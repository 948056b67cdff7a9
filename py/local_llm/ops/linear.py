"""Products of weight matrices with one token (matvec) and with several (matmul). Knows no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from local_llm.errors import InvalidRequest
from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops.shared import Shared
from local_llm.ops.weight import BLOCK, Weight

ENOUGH_WORKGROUPS = 256
MANY_ROWS = 8192
ACTIVATIONS = ("silu", "gelu")


@dataclass(frozen=True)
class Parts:
    """How attention left heads of `width`: as sums over `count` parts of the positions, f32 [H count (width + 4)]."""

    count: int
    width: int


@dataclass(frozen=True)
class Variant:
    """Which of a kernel's files runs, with which constants, and how many rows of W one workgroup takes."""

    suffix: str
    constants: Mapping[str, int]
    rows: int


def _serial(weight: Weight, most_rows: int) -> Variant:
    # Measured on SwiftShader, see docs/log.md: every load costs some 60 cycles and a barrier thousands, so one lane
    # reads x once for many rows; small matrices need fewer, to have work for all cores.
    rows = most_rows if weight.rows >= 2048 else 16
    return Variant("_serial", {"LANES": 4, "ROWS": rows, "ALIGNED": weight.cols % BLOCK == 0}, 4 * rows)


def matvec_variant(caps: Caps, weight: Weight, pairs: bool = False) -> Variant:
    """For matvec, and with pairs (of a gate and an up) for matvec_glu."""
    if caps.software:
        return _serial(weight, 32)
    # Measured on an H200, see docs/log.md: long matrices have rows to spare, so that a lane shares x among four; short
    # ones need many lanes a row, best of all one for each block.
    blocks, rows = weight.blocks, weight.rows
    if blocks <= 48 and rows < 2 * MANY_ROWS:
        lanes, each = max(16, -(-blocks // 4) * 4), 4 if rows >= MANY_ROWS else 2 if rows >= 2048 or pairs else 1
        teams = 8 if each == 1 and lanes <= 32 else 4
    elif rows >= MANY_ROWS:
        lanes, teams, each = (8, 16, 2) if blocks < 32 else (16, 8, 4)
    elif blocks < 192 and (blocks < 128 or rows >= 2048):
        lanes, teams, each = 32, 4, 4 if rows >= 4096 else 2
    else:
        lanes, teams, each = 64, 4, 4 if rows >= 4096 else 2
    return Variant("", {"LANES": lanes, "TEAMS": teams, "ROWS": each}, teams * each)


def matmul_variant(caps: Caps, weight: Weight, tokens: int) -> tuple[Variant, int]:
    """Also how many tokens one workgroup takes."""
    if caps.software:
        return _serial(weight, 16), 4
    aligned = {"ALIGNED": weight.cols % BLOCK == 0}
    # Measured on an H200, see docs/log.md: large tiles where enough workgroups are left to fill a GPU.
    if -(-weight.rows // 64) * -(-tokens // 64) < ENOUGH_WORKGROUPS:
        return Variant("", aligned, 64), 32
    largest = (weight.rows >= MANY_ROWS or weight.cols >= 12288) and caps.workgroup_bytes >= 24 << 10
    lanes = 128 if largest else 64
    return Variant("_large", {"LANES": lanes, **aligned}, lanes), 64


def is_gelu(activation: str) -> bool:
    """Whether an activation is gelu (tanh form) and not silu; there are no others."""
    if activation not in ACTIVATIONS:
        raise InvalidRequest(f"Activation must be one of {', '.join(ACTIVATIONS)}; found {activation!r}.")
    return activation == "gelu"


def matvec(
    s: Shared,
    weight: Weight,
    x: Buffer,
    y: Buffer,
    *,
    norm: Buffer | None = None,
    eps: float = 0.0,
    bias: Buffer | None = None,
    add: bool = False,
    row_offset: int = 0,
    bias_offset: int = 0,
    parts: Parts | None = None,
) -> list[Call]:
    """y[row_offset:] (+)= W norm(x) (+ bias) for f32 x [K], norm [K]; without norm, of x as it is.

    bias: f32, that of row n at bias_offset + n. parts: of `parts_for`, where x is what `rope_attention` leaves.
    """
    variant = matvec_variant(s.caps, weight)
    joined = {"PARTS": parts.count, "VECTORS": parts.width // 4} if parts else {}
    kernel = Kernel.of(
        "matvec" + variant.suffix,
        {"weight": weight.format} | ({"input": "parted_input"} if joined else {}),
        NORM=norm is not None,
        BIAS=bias is not None,
        ADD=add,
        **variant.constants,
        **joined,
    )
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, norm or s.dummy, bias or s.dummy, y)
        y_start = row_offset + part.row_start
        bias_start = bias_offset + part.row_start
        params = pack(part.rows, weight.cols, weight.blocks, y_start, bias_start, float(eps))
        grid = spread(-(-part.rows // variant.rows), s.caps.max_workgroups)
        calls.append(Call(kernel, buffers, grid, params))
    return calls


def matvec_glu(
    s: Shared,
    weight: Weight,
    x: Buffer,
    y: Buffer,
    *,
    norm: Buffer | None = None,
    eps: float = 0.0,
    activation: str = "silu",
) -> list[Call]:
    """y = act(W[:F] norm(x)) ⊙ (W[F:] norm(x)) for f32 x [K], y [F], W [2F, K]."""
    variant = matvec_variant(s.caps, weight, pairs=True)
    width = weight.rows // 2
    calls = []
    for quants, scales, stage, first, rows, gate, up in _glu_pieces(weight, width):
        kernel = Kernel.of(
            "matvec_glu" + variant.suffix,
            {"weight": weight.format},
            NORM=norm is not None,
            GELU=is_gelu(activation),
            STAGE=stage,
            **variant.constants,
        )
        params = pack(rows, weight.cols, weight.blocks, first, gate, up, float(eps))
        grid = spread(-(-2 * rows // variant.rows), s.caps.max_workgroups)
        calls.append(Call(kernel, (quants, scales, x, norm or s.dummy, y), grid, params))
    return calls


def _glu_pieces(weight: Weight, width: int) -> list[tuple[Buffer, Buffer, int, int, int, int, int]]:
    """(quants, scales, stage, first element, elements, row of its gate, row of its up): all gates, then all ups."""
    if len(weight.parts) == 1:
        part = weight.parts[0]
        return [(part.quants, part.scales, 0, 0, width, 0, width)]
    pieces = []
    for stage, start in ((1, 0), (2, width)):
        for part in weight.parts:
            low = max(part.row_start, start)
            high = min(part.row_start + part.rows, start + width)
            if low < high:
                row = low - part.row_start
                pieces.append((part.quants, part.scales, stage, low - start, high - low, row, row))
    return pieces


def matmul(
    s: Shared,
    tokens: int,
    weight: Weight,
    x: Buffer,
    y: Buffer,
    *,
    y_stride: int,
    bias: Buffer | None = None,
    add: bool = False,
    row_offset: int = 0,
    bias_offset: int = 0,
) -> list[Call]:
    """y[:, row_offset : row_offset + N] (+)= x Wᵀ (+ bias) for f32 x [T, K], y [T, y_stride].

    bias: f32, that of row n at bias_offset + n.
    """
    variant, tile_tokens = matmul_variant(s.caps, weight, tokens)
    kernel = Kernel.of(
        "matmul" + variant.suffix,
        {"weight": weight.format},
        BIAS=bias is not None,
        ADD=add,
        **variant.constants,
    )
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, bias or s.dummy, y, s.step)
        y_start = row_offset + part.row_start
        bias_start = bias_offset + part.row_start
        params = pack(part.rows, weight.cols, weight.blocks, y_stride, y_start, bias_start)
        grid = (-(-tokens // tile_tokens), -(-part.rows // variant.rows), 1)
        calls.append(Call(kernel, buffers, grid, params))
    return calls
