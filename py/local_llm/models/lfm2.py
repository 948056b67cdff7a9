"""LFM2 and 2.5 (dense): Llama's blocks with norms of each head of q and k, short convolutions in most layers.

Source: Liquid AI 2025, GGUF tensor names. A convolution's inputs are kept in a ring, as a window's keys and values are.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.errors import CorruptModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.models import decoder
from local_llm.models.blocks import attend, feed_forward, project
from local_llm.models.config import Config, metadata_of
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head
from local_llm.models.model import Model
from local_llm.models.weights import Source, Stack, Vector
from local_llm.ops.convolution import short_conv
from local_llm.ops.embedding import embed

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    meta = metadata_of(checkpoint)
    kv_heads = meta.integers("attention.head_count_kv", meta.integer("block_count", most=1024))
    config = read_shape(checkpoint, kv_heads=max(kv_heads, default=0) or 1)
    taps = meta.integer("shortconv.l_cache", most=64)
    attention = zip(config.attention, kv_heads, strict=True)
    up = checkpoint.tensors.get("blk.0.ffn_up.weight")  # Hugging Face's settings tell the width in a roundabout way
    config = replace(
        config,
        attention=tuple(each if count else replace(each, taps=taps) for each, count in attention),
        ffn_width=up.shape[0] if up else config.ffn_width,
        qk_norm="head",
    )
    if 2 * config.ffn_width < 3 * config.width or config.q_rows < config.width:
        raise CorruptModel(f"{checkpoint.name}: feed-forward or heads are too narrow for an LFM2.")  # see _convolve
    return config


def stacks(checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    d = config.width
    wanted: list[Stack | Vector] = [
        decoder.matrix("token_embd", config.vocab, d),
        Vector("output_norm", (Source("token_embd_norm.weight", 1, d),)),
    ]
    if "output.weight" in checkpoint.tensors:
        wanted.append(decoder.matrix("output", config.vocab, d))
    for layer, each in enumerate(config.attention):
        b = f"blk.{layer}."
        if each.taps:
            wanted += decoder.norms(b, replace(config, qk_norm=""))
            wanted += [
                decoder.matrix(b + "shortconv.in_proj", 3 * d, d),
                decoder.matrix(b + "shortconv.out_proj", d, d),
            ]
            wanted.append(Vector(b + "conv", (Source(b + "shortconv.conv.weight", d, each.taps),)))
        else:
            wanted += decoder.norms(b, config) + decoder.attention(b, checkpoint, config)
        wanted += decoder.feed_forward_stacks(b, checkpoint, config)
    return wanted


def layers(model: Model, tokens: int) -> list[Call]:
    """Tokens in `model.tokens` → residual stream in scratch.x, keys, values and inputs into the caches."""
    calls = embed(model.shared, tokens, model.weights.matrices["token_embd"][0].weight, model.tokens, model.scratch.x)
    for layer, each in enumerate(model.config.attention):
        calls += _convolve(model, tokens, layer) if each.taps else attend(model, tokens, layer)
        calls += feed_forward(model, tokens, layer)
    return calls


def _convolve(model: Model, tokens: int, layer: int) -> list[Call]:
    """The convolution of one layer, residual stream to residual stream, in the working buffers of its neighbours."""
    b, a, config = f"blk.{layer}.", model.scratch, model.config
    taps, slots = config.attention[layer].taps, model.heads[layer].context
    calls = project(model, tokens, b + "shortconv.in_proj", a.x, a.gate_up, norm=b + "attn_norm")
    gains, cache = model.weights.vectors[b + "conv"], model.caches[layer].k
    calls += short_conv(model.shared, tokens, a.gate_up, gains, cache, a.attended, config.width, taps, slots)
    return calls + project(model, tokens, b + "shortconv.out_proj", a.attended, a.x, add=True)
