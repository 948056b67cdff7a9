"""Which products of a step leave their results rounded for the next, and where (ops.leaving). Knows no kernels.

Three may, in each layer of models of decoder.py: gate and up for down, the output of attention for gate and up, and
down for the next layer's q, k and v. They do where the variant chosen for who multiplies them takes that.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.models.blocks import fused_qkv
from local_llm.models.model import LEFT_AT, Model
from local_llm.ops.leaving import APART, Leaving, Link, can_leave
from local_llm.ops.variants import matvec_variant


@dataclass(frozen=True)
class Links:
    """Of one layer: to its q, k and v, to its gate and up, to its down, and to the next layer's q, k and v."""

    qkv: Link = APART
    gate_up: Link = APART
    down: Link = APART
    following: Link = APART


def links(model: Model) -> list[Links]:
    """For each layer of a step of one token, or of a few."""
    config = model.config
    if model.shared.rounded is None:
        return [Links()] * config.layers
    streams = config.pre_norm and not config.post_norm
    found, before = list[Links](), APART
    for layer in range(config.layers):
        b, following = f"blk.{layer}.", f"blk.{layer + 1}."
        gate_up = _stream(model, b + "attn_output", b + "gate_up", b + "ffn_norm") if streams else APART
        after = APART
        if streams and layer + 1 < config.layers and not fused_qkv(model, layer + 1):
            after = _stream(model, b + "ffn_down", following + "qkv", following + "attn_norm")
        down = Link(0, Leaving()) if _linked(model, b + "gate_up", b + "ffn_down") else APART
        found.append(Links(before, gate_up, down, after))
        before = after
    return found


def _stream(model: Model, giver: str, taker: str, norm: str) -> Link:
    """By way of the residual stream."""
    if not _linked(model, giver, taker):
        return APART
    start = LEFT_AT * model.config.width
    return Link(start, Leaving(start, model.weights.vectors[norm]))


def _linked(model: Model, giver: str, taker: str) -> bool:
    s, gives, takes = model.shared, model.weights.matrices[giver], model.weights.matrices[taker]
    if _pairs(taker) and sum(len(one.weight.parts) for one in takes) > 1:  # steps of a few tokens have no glu for them
        return False
    if len(gives) != 1 or not all(matvec_variant(s, one.weight, _pairs(taker)).takes_left for one in takes):
        return False
    (one,) = gives
    return can_leave(one.weight, matvec_variant(s, one.weight, _pairs(giver)), _pairs(giver))


def _pairs(name: str) -> bool:
    return name.endswith("gate_up")
