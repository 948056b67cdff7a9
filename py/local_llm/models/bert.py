"""BERT-style encoders (MiniLM, bge, e5): every token sees all; layer norms behind what is added; for embeddings only.

Source: Devlin et al. 2018, GGUF tensor names.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.errors import InvalidRequest
from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models.blocks import project
from local_llm.models.config import Config, metadata_of
from local_llm.models.config import read_config as read_shape
from local_llm.models.model import Model
from local_llm.models.weights import Source, Stack, Vector
from local_llm.ops.attention import attention, rope_kv
from local_llm.ops.elementwise import gelu, layer_norm
from local_llm.ops.embedding import embed


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), read_shape(checkpoint, eps="attention.layer_norm_epsilon")
    still = replace(config.attention[0].rope, width=0)
    pooling = config.pooling if "pooling_type" in meta else "mean"
    attention = tuple(replace(each, rope=still) for each in config.attention)
    return replace(config, attention=attention, causal=False, pooling=pooling)


def stacks(checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    d, f = config.width, config.ffn_width
    types = checkpoint.tensors.get("token_types.weight")
    wanted = _linear("token_embd", config.vocab, d)[:1] + _linear("position_embd", config.context, d)[:1]
    wanted += _linear("token_types", types.shape[0] if types else 0, d)[:1] + _norm("token_embd_norm", d)
    for layer in range(config.layers):
        b = f"blk.{layer}."
        parts = [b + "attn_q", b + "attn_k", b + "attn_v"]
        wanted += [
            Stack(b + "qkv", tuple(Source(f"{name}.weight", d, d) for name in parts)),
            Vector(b + "qkv.bias", tuple(Source(f"{name}.bias", 1, d) for name in parts)),
            *_linear(b + "attn_output", d, d),
            *_norm(b + "attn_output_norm", d),
            *_linear(b + "ffn_up", f, d),
            *_linear(b + "ffn_down", d, f),
            *_norm(b + "layer_output_norm", d),
        ]
    return wanted


def _linear(name: str, rows: int, cols: int) -> list[Stack | Vector]:
    bias = Vector(f"{name}.bias", (Source(f"{name}.bias", 1, rows),))
    return [Stack(name, (Source(f"{name}.weight", rows, cols),)), bias]


def _norm(name: str, width: int) -> list[Stack | Vector]:
    return [Vector(f"{name}.{kind}", (Source(f"{name}.{kind}", 1, width),)) for kind in ("weight", "bias")]


def layers(model: Model, tokens: int) -> list[Call]:
    """Tokens in `model.tokens` → states in scratch.x; all tokens of a text must be in one step."""
    s, a, config = model.shared, model.scratch, model.config
    calls: list[Call] = []
    for name, source in (("token_embd", "tokens"), ("position_embd", "positions"), ("token_types", "first row")):
        weight = model.weights.matrices[name][0].weight
        calls += embed(s, tokens, weight, model.tokens, a.x, source=source, add=name != "token_embd")
    calls += _normed(model, tokens, "token_embd_norm")
    for layer in range(config.layers):
        b = f"blk.{layer}."
        heads, rope, cache = model.heads[layer], model.ropes[layer], model.caches[layer]
        calls += project(model, tokens, b + "qkv", a.x, a.qkv)
        calls += rope_kv(s, tokens, heads, a.qkv, rope, cache)  # which rotates nothing here
        calls += attention(s, tokens, heads, a.qkv, cache, a.attended)
        calls += project(model, tokens, b + "attn_output", a.attended, a.x, add=True)
        calls += _normed(model, tokens, b + "attn_output_norm")
        calls += project(model, tokens, b + "ffn_up", a.x, a.hidden)
        calls += gelu(s, a.hidden, tokens * config.ffn_width)
        calls += project(model, tokens, b + "ffn_down", a.hidden, a.x, add=True)
        calls += _normed(model, tokens, b + "layer_output_norm")
    return calls


def _normed(model: Model, tokens: int, name: str) -> list[Call]:
    weight, bias = (model.weights.vectors[f"{name}.{kind}"] for kind in ("weight", "bias"))
    return layer_norm(model.shared, tokens, model.scratch.x, weight, bias, model.config.width, model.config.eps)


def head(model: Model, x: Buffer, tokens: int, logits: Buffer) -> list[Call]:
    raise InvalidRequest("This model makes embeddings, no text.", remedy="Call embed().")
