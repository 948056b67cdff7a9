"""Shapes and constants of one model, read from a file's metadata. Knows no device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding. width: how many of a head's dimensions are rotated.

    interleaved: pairs (2i, 2i + 1), as GGUF files of the llama family store them; else (i, i + width / 2).
    factor, kind: scaling ("none", "linear", "yarn"); llama3's scaling comes as a tensor of divisors.
    """

    base: float
    width: int
    interleaved: bool
    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class Config:
    """One model's shapes; letters as in design.md (D, H, K, E, F, V, C)."""

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
    rope: Rope
    activation: str = "silu"

    @property
    def q_rows(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_rows(self) -> int:
        return self.kv_heads * self.head_width


class Metadata:
    """Typed access to a GGUF's metadata under one architecture's prefix. `name` is the file, for messages."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._values = values
        self.architecture = str(values.get("general.architecture", ""))

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = 1 << 24) -> int:
        """A whole number in [least, most]. Raises CorruptModel where it is missing or out of range."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(key, f"a whole number from {least} to {most}", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite positive number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self._wrong(key, "a positive number", value)
        return float(value)

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def _get(self, key: str, default: Any) -> Any:
        return self._values.get(f"{self.architecture}.{key}", default)

    def _wrong(self, key: str, wanted: str, found: Any) -> CorruptModel:
        shown = "nothing" if found is None else repr(found)[:60]
        return CorruptModel(f"{self._name}: metadata '{self.architecture}.{key}' must be {wanted}, found {shown}.")


def read_config(name: str, values: Mapping[str, Any], vocab: int, *, interleaved: bool) -> Config:
    """The configuration of a llama-shaped GGUF model. vocab: rows of the embedding."""
    meta = Metadata(name, values)
    width, heads = meta.integer("embedding_length"), meta.integer("attention.head_count", most=4096)
    kv_heads = meta.integer("attention.head_count_kv", heads, most=4096)
    head_width = meta.integer("attention.key_length", width // heads or None, most=1024)
    if heads % kv_heads:
        raise CorruptModel(f"{name}: {heads} query heads cannot share {kv_heads} key-value heads evenly.")
    if meta.integer("attention.value_length", head_width, most=1024) != head_width:
        raise UnsupportedModel(f"{name}: keys and values of different width are not supported.")
    context = meta.integer("context_length")
    return Config(
        architecture=meta.architecture,
        layers=meta.integer("block_count", most=1024),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn_width=meta.integer("feed_forward_length"),
        vocab=vocab,
        context=context,
        eps=meta.number("attention.layer_norm_rms_epsilon"),
        rope=_read_rope(name, meta, head_width, context, interleaved),
    )


def _read_rope(name: str, meta: Metadata, head_width: int, context: int, interleaved: bool) -> Rope:
    width = meta.integer("rope.dimension_count", head_width, most=head_width)
    if width % 2:
        raise CorruptModel(f"{name}: RoPE rotates pairs, but rope.dimension_count is {width}.")
    kind = meta.text("rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise UnsupportedModel(f"{name}: RoPE scaling '{kind}' is not supported; none, linear, llama3 and yarn are.")
    return Rope(
        base=meta.number("rope.freq_base", 10000.0),
        width=width,
        interleaved=interleaved,
        kind=kind,
        factor=meta.number("rope.scaling.factor", 1.0),
        original_context=meta.integer("rope.scaling.original_context_length", context),
        attention_factor=meta.number("rope.scaling.attn_factor", 1.0),
        beta_fast=meta.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=meta.number("rope.scaling.yarn_beta_slow", 1.0),
    )


def rope_table(rope: Rope, context: int, divisors: np.ndarray | None = None) -> np.ndarray:
    """cos and sin of every position: float32 [C, width / 2, 2], computed in float64.

    divisors: float [width / 2], the tensor `rope_freqs.weight` (llama3 scaling), or None. YaRN follows
    Peng et al. 2023: frequencies with few turns in the original context are interpolated, those with many kept.
    """
    index = np.arange(0, rope.width, 2, dtype=np.float64)
    frequency = rope.base ** (-index / rope.width)
    if divisors is not None:
        frequency = frequency / divisors
    magnitude = rope.attention_factor
    if rope.kind == "linear":
        frequency = frequency / rope.factor
    elif rope.kind == "yarn":
        low, high = (_yarn_dimension(rope, beta) for beta in (rope.beta_fast, rope.beta_slow))
        low, high = max(np.floor(low), 0), min(np.ceil(high), rope.width - 1)
        keep = 1 - np.clip((index / 2 - low) / max(high - low, 0.001), 0, 1)
        frequency = frequency * keep + frequency / rope.factor * (1 - keep)
        magnitude *= 1 + 0.1 * math.log(rope.factor)
    angle = np.outer(np.arange(context, dtype=np.float64), frequency)
    return (np.stack([np.cos(angle), np.sin(angle)], axis=-1) * magnitude).astype(np.float32)


def _yarn_dimension(rope: Rope, turns: float) -> float:
    """The (fractional) pair whose frequency makes `turns` turns within the original context."""
    return rope.width * math.log(rope.original_context / (turns * 2 * math.pi)) / (2 * math.log(rope.base))
