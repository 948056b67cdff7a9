"""Operations that touch every element of the activations once or twice. Knows no models."""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.ops.linear import is_gelu
from local_llm.ops.shared import Shared

_LANES = 64


def glu(s: Shared, tokens: int, x: Buffer, y: Buffer, width_f: int, activation: str = "silu") -> list[Call]:
    """y = act(x[:, :F]) ⊙ x[:, F:] for f32 x [T, 2F], y [T, F]."""
    kernel = Kernel.of("glu", GELU=is_gelu(activation), LANES=_LANES)
    return [Call(kernel, (x, y, s.step), (-(-width_f // _LANES), tokens, 1), pack(width_f))]


def rms_norm(
    s: Shared, tokens: int, x: Buffer, weight: Buffer, y: Buffer, width: int, eps: float, *, add: bool = False
) -> list[Call]:
    """y (+)= x / sqrt(mean(x²) + eps) ⊙ weight, row by row, for f32 x and y [T, D], weight [D]."""
    return [Call(Kernel.of("rms_norm", ADD=add), (x, weight, y), (tokens, 1, 1), pack(width, float(eps)))]


def layer_norm(s: Shared, tokens: int, x: Buffer, weight: Buffer, bias: Buffer, width: int, eps: float) -> list[Call]:
    """x = (x - mean) / sqrt(variance + eps) ⊙ weight + bias in place, by rows, for f32 x [T, D]."""
    return [Call(Kernel.of("layer_norm"), (x, weight, bias), (tokens, 1, 1), pack(width, float(eps)))]


def gelu(s: Shared, x: Buffer, count: int) -> list[Call]:
    """x = x · Φ(x) in place for f32 x [count]."""
    return [Call(Kernel.of("gelu"), (x,), spread(-(-count // _LANES), s.caps.max_workgroups), pack(count))]


def softcap(s: Shared, x: Buffer, count: int, cap: float) -> list[Call]:
    """x = cap · tanh(x / cap) in place for f32 x [count]."""
    grid = spread(-(-count // _LANES), s.caps.max_workgroups)
    return [Call(Kernel.of("softcap"), (x,), grid, pack(count, float(cap)))]


def last_row(s: Shared, x: Buffer, y: Buffer, width: int) -> list[Call]:
    """y = x[step.count - 1] for f32 x [T, D], y [D]."""
    return [Call(Kernel.of("last_row", LANES=_LANES), (x, y, s.step), (-(-width // _LANES), 1, 1), pack(width))]
