"""Pieces that model families are made of: a projection, a projection after a norm, a feed-forward.

One token takes the fused matrix-vector kernels, several tokens the matrix-matrix kernels.
"""

from __future__ import annotations

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models.model import Model
from local_llm.models.weights import vector
from local_llm.ops.elementwise import glu, rms_norm
from local_llm.ops.linear import matmul, matvec, matvec_glu


def _rows(model: Model, name: str) -> int:
    return sum(placed.weight.rows for placed in model.weights[name])


def project(model: Model, tokens: int, name: str, x: Buffer, y: Buffer, *, add: bool = False) -> list[Call]:
    """y (+)= x Wᵀ for f32 x [T, cols], y [T, rows]."""
    s, stride = model.shared, _rows(model, name)
    calls: list[Call] = []
    for placed in model.weights[name]:
        if tokens == 1:
            calls += matvec(s, placed.weight, x, y, add=add, row_offset=placed.row)
        else:
            calls += matmul(s, tokens, placed.weight, x, y, y_stride=stride, add=add, row_offset=placed.row)
    return calls


def project_normed(model: Model, tokens: int, name: str, norm: str, x: Buffer, y: Buffer) -> list[Call]:
    """y = norm(x) Wᵀ for f32 x [T, D], y [T, rows]."""
    s, gain, eps = model.shared, vector(model.weights, norm), model.config.eps
    if tokens > 1:
        calls = rms_norm(s, tokens, x, gain, model.scratch.normed, model.config.width, eps)
        return calls + project(model, tokens, name, model.scratch.normed, y)
    calls = []
    for placed in model.weights[name]:
        calls += matvec(s, placed.weight, x, y, norm=gain, eps=eps, row_offset=placed.row)
    return calls


def feed_forward(model: Model, tokens: int, gate_up: str, norm: str, down: str) -> list[Call]:
    """x += (act(gate(norm(x))) ⊙ up(norm(x))) W_downᵀ on the residual stream."""
    s, a, config = model.shared, model.scratch, model.config
    stacked = model.weights[gate_up]
    if tokens == 1 and len(stacked) == 1:
        gain = vector(model.weights, norm)
        weight = stacked[0].weight
        calls = matvec_glu(s, weight, a.x, a.hidden, norm=gain, eps=config.eps, activation=config.activation)
    else:
        calls = project_normed(model, tokens, gate_up, norm, a.x, a.gate_up)
        calls += glu(s, tokens, a.gate_up, a.hidden, config.ffn_width, config.activation)
    return calls + project(model, tokens, down, a.hidden, a.x, add=True)
