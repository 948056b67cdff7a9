"""Pieces that decoders are made of: projections, attention, feed-forward, each with the norms a model has around it.

One token takes the fused matrix-vector kernels, several tokens the matrix-matrix kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models.model import Model
from local_llm.ops.attention import parts_for, rope_attention
from local_llm.ops.elementwise import glu, rms_norm
from local_llm.ops.leaving import APART, Link
from local_llm.ops.linear import Parts, matmul, matvec, matvec_glu
from local_llm.ops.qkv_attention import fits, qkv_attention
from local_llm.ops.weight import Weight


def project(
    model: Model,
    tokens: int,
    name: str,
    x: Buffer,
    y: Buffer,
    *,
    norm: str = "",
    add: bool = False,
    parts: Parts | None = None,
    taken: Link = APART,
    given: Link = APART,
) -> list[Call]:
    """y (+)= norm(x) Wᵀ + bias for f32 x [T, cols], y [T, rows]; norm, `name`.bias: where there are any.

    parts, taken and given (left, leaves): as for `matvec`, for one token.
    """
    s, w = model.shared, model.weights
    bias, gain, eps = w.vectors.get(f"{name}.bias"), w.vectors[norm] if norm else None, model.config.eps
    calls: list[Call] = []
    if gain and tokens > 1:
        calls += rms_norm(s, tokens, x, gain, model.scratch.normed, model.config.width, eps)
        x = model.scratch.normed
    for part in w.matrices[name]:
        where = {"row_offset": part.row, "bias_offset": part.row}
        if tokens == 1:
            options = {"norm": gain, "eps": eps, "bias": bias, "left": taken.left, "leaves": given.leaves, **where}
            calls += matvec(s, part.weight, x, y, add=add, parts=parts, **options)
        else:
            calls += matmul(s, tokens, part.weight, x, y, y_stride=w.rows(name), bias=bias, add=add, **where)
    return calls


def join(
    model: Model,
    tokens: int,
    name: str,
    y: Buffer,
    norm: str,
    parts: Parts | None = None,
    taken: Link = APART,
    given: Link = APART,
    project: Callable[..., list[Call]] = project,
) -> list[Call]:
    """x += y Wᵀ + bias on the residual stream, or its norm where the model has norms there (post_norm).

    project: how steps of a few tokens multiply, in the place of `project`.
    """
    a, config = model.scratch, model.config
    if not config.post_norm:
        return project(model, tokens, name, y, a.x, add=True, parts=parts, taken=taken, given=given)
    gain = model.weights.vectors[norm]
    calls = project(model, tokens, name, y, a.normed, parts=parts, taken=taken)
    return calls + rms_norm(model.shared, tokens, a.normed, gain, a.x, config.width, config.eps, add=True)


def fused_qkv(model: Model, layer: int) -> Weight | None:
    """The layer's W_qkv where steps of one token multiply by it and attend in one launch."""
    stacked = model.weights.matrices[f"blk.{layer}.qkv"]
    possible = len(stacked) == 1 and model.config.pre_norm
    return stacked[0].weight if possible and fits(model.shared.caps, stacked[0].weight, model.heads[layer]) else None


def attend(model: Model, tokens: int, layer: int, taken: Link = APART, given: Link = APART) -> list[Call]:
    """The attention of one layer: residual stream to residual stream, keys and values into the layer's cache.

    taken, given: of models/links.py, from the product before and to the next one.
    """
    b, a, vectors, s = f"blk.{layer}.", model.scratch, model.weights.vectors, model.shared
    heads, rope, cache = model.heads[layer], model.ropes[layer], model.caches[layer]
    fused = fused_qkv(model, layer) if tokens == 1 else None
    if fused:
        inputs = a.x, vectors[b + "attn_norm"], vectors.get(b + "qkv.bias"), model.config.eps
        calls = qkv_attention(s, fused, *inputs, heads, rope, cache, a.attended, model.reach)
    else:
        gains = vectors[b + "qk_norm"] if model.config.qk_norm else None
        norm = b + "attn_norm" if model.config.pre_norm else ""
        calls = project(model, tokens, b + "qkv", a.x, a.qkv, norm=norm, taken=taken)
        calls += rope_attention(s, tokens, heads, a.qkv, rope, cache, a.attended, gains, model.reach)
    parts = parts_for(s, tokens, heads, model.reach, past=fused is not None)
    return calls + join(model, tokens, b + "attn_output", a.attended, b + "post_attention_norm", parts, given=given)


def feed_forward(
    model: Model, tokens: int, layer: int, taken: Link = APART, inner: Link = APART, given: Link = APART
) -> list[Call]:
    """x += (act(gate(norm(x))) ⊙ up(norm(x))) W_downᵀ on the residual stream.

    taken, inner, given: of models/links.py, from the product before, from gate and up to down, and to the next one.
    """
    b, a, config = f"blk.{layer}.", model.scratch, model.config
    norm = b + "ffn_norm" if config.pre_norm else ""
    stacked = model.weights.matrices[b + "gate_up"]
    if tokens == 1 and len(stacked) == 1:
        gain = model.weights.vectors[norm] if norm else None
        options = {"norm": gain, "eps": config.eps, "left": taken.left, "leaves": inner.leaves}
        calls = matvec_glu(model.shared, stacked[0].weight, a.x, a.hidden, activation=config.activation, **options)
    else:
        calls = project(model, tokens, b + "gate_up", a.x, a.gate_up, norm=norm, taken=taken)
        calls += glu(model.shared, tokens, a.gate_up, a.hidden, config.ffn_width, config.activation)
    return calls + join(model, tokens, b + "ffn_down", a.hidden, b + "post_ffw_norm", taken=inner, given=given)
