"""Products of weight matrices with one token (matvec) and with several (matmul). Knows no models."""

from __future__ import annotations

from local_llm.errors import InvalidRequest
from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops.shared import Shared
from local_llm.ops.weight import BLOCK, Weight

_TILE_ROWS, _TILE_TOKENS = 64, 32  # of matmul
ACTIVATIONS = ("silu", "gelu")


def team_shape(caps: Caps, blocks: int) -> dict[str, int]:
    """LANES, TEAMS and ROWS of the matrix-vector kernels for rows of so many blocks."""
    if caps.software:
        return {"LANES": 1, "TEAMS": 8, "ROWS": 4}
    lanes = 32
    while lanes > blocks:
        lanes //= 2
    return {"LANES": lanes, "TEAMS": 64 // lanes, "ROWS": 1}


def _aligned(weight: Weight) -> bool:
    return weight.cols % BLOCK == 0


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
) -> list[Call]:
    """y[row_offset:] (+)= W norm(x) (+ bias) for f32 x [K], norm [K], bias [N]; without norm, of x as it is."""
    shape = team_shape(s.caps, weight.blocks)
    kernel = Kernel.of(
        "matvec",
        {"weight": weight.format},
        NORM=norm is not None,
        ALIGNED=_aligned(weight),
        BIAS=bias is not None,
        ADD=add,
        **shape,
    )
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, norm or s.dummy, bias or s.dummy, y)
        y_start = row_offset + part.row_start
        params = pack(part.rows, weight.cols, weight.blocks, y_start, part.row_start, float(eps))
        grid = spread(-(-part.rows // (shape["TEAMS"] * shape["ROWS"])), s.caps.max_workgroups)
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
    shape = team_shape(s.caps, weight.blocks)
    shape["ROWS"] = max(1, shape["ROWS"] // 2)  # each has two rows of W
    width = weight.rows // 2
    calls = []
    for quants, scales, stage, first, rows, gate, up in _glu_pieces(weight, width):
        kernel = Kernel.of(
            "matvec_glu",
            {"weight": weight.format},
            NORM=norm is not None,
            ALIGNED=_aligned(weight),
            GELU=is_gelu(activation),
            STAGE=stage,
            **shape,
        )
        params = pack(rows, weight.cols, weight.blocks, first, gate, up, float(eps))
        grid = spread(-(-rows // (shape["TEAMS"] * shape["ROWS"])), s.caps.max_workgroups)
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
) -> list[Call]:
    """y[:, row_offset : row_offset + N] (+)= x Wᵀ (+ bias) for f32 x [T, K], y [T, y_stride], bias [N]."""
    kernel = Kernel.of("matmul", {"weight": weight.format}, ALIGNED=_aligned(weight), BIAS=bias is not None, ADD=add)
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, bias or s.dummy, y, s.step)
        y_start = row_offset + part.row_start
        params = pack(part.rows, weight.cols, weight.blocks, y_stride, y_start, part.row_start)
        grid = (-(-tokens // _TILE_TOKENS), -(-part.rows // _TILE_ROWS), 1)
        calls.append(Call(kernel, buffers, grid, params))
    return calls
