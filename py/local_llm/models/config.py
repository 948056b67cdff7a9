"""Shapes and constants of one model, read from a checkpoint's metadata. Knows no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.metadata import Metadata
from local_llm.models.rope import Rope, read_rope

_POOLINGS = ("last", "mean", "cls", "last")  # GGUF's numbers; 0 is none


@dataclass(frozen=True)
class Attention:
    """How one layer attends. window: positions that a query sees, itself included (0: all).

    taps: positions that a short convolution sees which stands here in place of attention (0: attention it is).
    """

    rope: Rope
    window: int = 0
    taps: int = 0


@dataclass(frozen=True)
class Config:
    """One model's shapes. Families say the rest with `replace`.

    D width, H query heads, K kv heads, E head width, F feed-forward, V vocabulary, C context.
    """

    architecture: str
    layers: int
    width: int  # D
    heads: int  # H
    kv_heads: int  # K
    head_width: int  # E
    ffn_width: int  # F
    vocab: int  # V
    context: int  # C, as trained
    eps: float
    attention: tuple[Attention, ...]  # one a layer
    scale: float  # of attention scores
    activation: str = "silu"
    embedding_scale: float = 1.0
    pre_norm: bool = True  # norms before attention and feed-forward
    post_norm: bool = False  # norms of what they add to the residual stream
    qk_norm: str = ""  # norms of q and k: "", "head" or "whole", as in ops.attention.Heads
    norm_addend: float = 0.0  # added to every norm's weight
    score_cap: float = 0.0  # scores become c tanh(s / c); 0: they stay
    logit_cap: float = 0.0
    logit_divisor: float = 1.0
    causal: bool = True  # False: an encoder, whose tokens see each other; a text goes through it in one step
    dense: tuple[str, ...] = ()  # matrices that an embedding goes through, one after the other
    pooling: str = "last"  # of embeddings: "mean", "cls" (the first token's) or "last"

    @property
    def q_rows(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_rows(self) -> int:
        return self.kv_heads * self.head_width


def read_config(
    checkpoint: Checkpoint,
    *,
    interleaved: bool = False,
    eps: str = "attention.layer_norm_rms_epsilon",
    kv_heads: int | None = None,
) -> Config:
    """The configuration of a model of Llama's shape; every layer attends alike. interleaved: see Rope. eps: its key.

    kv_heads: how many there are, where the family reads it itself.
    """
    name, meta = checkpoint.name, metadata_of(checkpoint)
    width, heads = meta.integer("embedding_length"), meta.integer("attention.head_count", most=4096)
    kv_heads = kv_heads or meta.integer("attention.head_count_kv", heads, most=4096)
    head_width = meta.integer("attention.key_length", width // heads or None, most=1024)
    if heads % kv_heads:
        raise CorruptModel(f"{name}: {heads} query heads cannot share {kv_heads} key-value heads evenly.")
    if meta.integer("attention.value_length", head_width, most=1024) != head_width:
        raise UnsupportedModel(f"{name}: keys and values of different width are not supported.")
    if "expert_count" in meta and meta.integer("expert_count", least=0):
        raise UnsupportedModel(f"{name} is a mixture of experts, which is not supported.", remedy="Use a dense model.")
    if head_width % 4 or not 16 <= head_width <= 256:
        raise UnsupportedModel(f"{name}: heads are {head_width} wide; multiples of 4 from 16 to 256 are supported.")
    context, layers = meta.integer("context_length"), meta.integer("block_count", most=1024)
    rope = read_rope(meta, checkpoint.tensors, head_width, context, interleaved)
    embedding = checkpoint.tensors.get("token_embd.weight")
    return Config(
        architecture=meta.architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn_width=meta.integer("feed_forward_length"),
        vocab=embedding.shape[0] if embedding else 0,
        context=context,
        eps=meta.number(eps),
        attention=(Attention(rope),) * layers,
        scale=meta.number("attention.scale", head_width**-0.5),
        pooling=_POOLINGS[meta.integer("pooling_type", 3, least=0, most=3)],
    )


def metadata_of(checkpoint: Checkpoint) -> Metadata:
    """A checkpoint's metadata under its architecture's prefix."""
    return Metadata(checkpoint.name, checkpoint.metadata)


def windowed(config: Config, meta: Metadata, pattern: Sequence[bool] | None = None) -> Config:
    """The configuration with the window of `attention.sliding_window`, if there is one, on the layers of pattern.

    pattern: one bool a layer, all by default; `attention.sliding_window_pattern` goes before it.
    """
    if "attention.sliding_window" not in meta:
        return config
    window = meta.integer("attention.sliding_window", least=0)
    key = "attention.sliding_window_pattern"
    pattern = meta.flags(key, pattern or [True] * config.layers)
    layers = zip(config.attention, pattern, strict=True)
    return replace(config, attention=tuple(replace(a, window=window) if near else a for a, near in layers))
