"""Products of weight matrices with one token (matvec) and with several (matmul). Knows no models."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.errors import InvalidRequest
from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.ops import leaving
from local_llm.ops.leaving import Leaving
from local_llm.ops.shared import Shared
from local_llm.ops.variants import matmul_variant, matvec_variant
from local_llm.ops.weight import Weight

ACTIVATIONS = ("silu", "gelu")


@dataclass(frozen=True)
class Parts:
    """How attention left heads of `width`: as sums over `count` parts of the positions, f32 [H count (width + 4)].

    sharers: H / K where the newest position is not among them but apart, as lib/newest_input.wgsl says; else 0.
    heads: H, told with sharers.
    """

    count: int
    width: int
    sharers: int = 0
    heads: int = 0

    @property
    def constants(self) -> dict[str, int]:
        """Of what joins them."""
        newest = {"SHARERS": self.sharers, "ALL": self.heads * self.width // 4} if self.sharers else {}
        return {"PARTS": self.count, "VECTORS": self.width // 4, **newest}

    @property
    def joined(self) -> int:
        """Bytes of workgroup memory for each token of what joins them (lib/newest_input.wgsl)."""
        return self.heads * self.width if self.sharers else 0

    @property
    def includes(self) -> dict[str, str]:
        """What joins them."""
        return {"input": "newest_input" if self.sharers else "parted_input"}


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
    left: int | None = None,
    leaves: Leaving | None = None,
) -> list[Call]:
    """y[row_offset:] (+)= W norm(x) (+ bias) for f32 x [K], norm [K]; without norm, of x as it is.

    bias: f32, that of row n at bias_offset + n. parts: of `parts_for`, where x is what `rope_attention` leaves. left:
    u32 of x where norm(x) was left rounded (ops.leaving), a multiple of four; variants that do not take that read x.
    leaves: where y is left so, too, times the next norm's gains; only without a norm here, where `can_leave`.
    """
    variant = matvec_variant(s, weight)
    taken = left is not None and variant.takes_left
    joined, includes = (parts.constants, parts.includes) if parts else ({}, {})
    kernel = Kernel.of(
        "matvec" + variant.suffix,
        variant.includes(weight.format, "team_rows", taken) | includes | leaving.includes(leaves),
        NORM=norm is not None,
        BIAS=bias is not None,
        ADD=add,
        **variant.constants,
        **joined,
        **leaving.constants(leaves, variant.rows, weight.rows),
    )
    gains = (leaves.gains if leaves else norm) or s.dummy
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, gains, bias or s.dummy, y)
        starts = (row_offset + part.row_start, bias_offset + part.row_start)
        places = ((left or 0) // 4, leaves.start if leaves else 0)
        params = pack(part.rows, weight.cols, weight.blocks, *starts, float(eps), *places)
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
    left: int | None = None,
    leaves: Leaving | None = None,
) -> list[Call]:
    """y = act(W[:F] norm(x)) ⊙ (W[F:] norm(x)) for f32 x [K], y [F], W [2F, K]. left, leaves: as of `matvec`."""
    variant = matvec_variant(s, weight, pairs=True)
    taken = left is not None and variant.takes_left
    width = weight.rows // 2
    calls = []
    for quants, scales, stage, first, rows, gate, up in _glu_pieces(weight, width):
        kernel = Kernel.of(
            "matvec_glu" + variant.suffix,
            variant.includes(weight.format, "team_rows", taken) | leaving.includes(leaves),
            NORM=norm is not None,
            GELU=is_gelu(activation),
            STAGE=stage,
            **variant.constants,
            **leaving.constants(leaves, variant.rows // 2, width),
        )
        params = pack(rows, weight.cols, weight.blocks, first, gate, up, float(eps), (left or 0) // 4)
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
    variant, tile_tokens = matmul_variant(s, weight, tokens)
    kernel = Kernel.of(
        "matmul" + variant.suffix,
        variant.includes(weight.format),
        BIAS=bias is not None,
        ADD=add,
        **variant.constants,
    )
    calls, inputs = [], (x,)
    if variant.int8:
        calls, inputs = _round_rows(s, tokens, weight, x)
    for part in weight.parts:
        buffers = (part.quants, part.scales, *inputs, bias or s.dummy, y, s.step)
        y_start = row_offset + part.row_start
        bias_start = bias_offset + part.row_start
        params = pack(part.rows, weight.cols, weight.blocks, y_stride, y_start, bias_start)
        grid = (-(-tokens // tile_tokens), -(-part.rows // variant.rows), 1)
        calls.append(Call(kernel, buffers, grid, params))
    return calls


def _round_rows(s: Shared, tokens: int, weight: Weight, x: Buffer) -> tuple[list[Call], tuple[Buffer, ...]]:
    """Rounds x f32 [T, K] to bytes; and where they are."""
    assert s.rounded is not None
    buffers = (x, s.rounded.bytes, s.rounded.scales, s.step)
    grid = (-(-weight.blocks // 8), tokens, 1)
    call = Call(Kernel.of("round_rows"), buffers, grid, pack(weight.cols, weight.blocks))
    return [call], (s.rounded.bytes, s.rounded.scales)
