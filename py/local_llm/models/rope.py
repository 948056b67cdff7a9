"""Rotary position embedding: what a file says of it, and the table of cosines and sines. Knows no device."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.ports import Blobs
from local_llm.models.metadata import Metadata

KINDS = ("none", "linear", "llama3", "yarn", "longrope")


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding. width: how many of a head's dimensions are rotated (0: none).

    interleaved: pairs (2i, 2i + 1), as llama.cpp's conversion permutes some architectures; else (i, i + width / 2).
    kind: one of KINDS. llama3 has low and high (turns within the original context below which a frequency is divided by
    factor, above which it is kept), unless the file has its divisors as a tensor; longrope has divisors for a long and
    for a short context, from the file's tensors where `long` and `short` are empty.
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
    low: float = 1.0
    high: float = 4.0
    long: tuple[float, ...] = ()
    short: tuple[float, ...] = ()


def read_rope(meta: Metadata, tensors: Container[str], head_width: int, context: int, interleaved: bool) -> Rope:
    """The rope of a model's metadata. tensors: the names of the file's tensors."""
    width = meta.integer("rope.dimension_count", head_width, most=head_width)
    if width % 2:
        raise CorruptModel(f"{meta.name}: RoPE rotates pairs, but rope.dimension_count is {width}.")
    kind = meta.text("rope.scaling.type", "none")
    if "rope_factors_long.weight" in tensors:
        kind = "longrope"
    if kind not in KINDS:
        raise UnsupportedModel(f"{meta.name}: RoPE scaling '{kind}' is not supported; supported: {', '.join(KINDS)}.")
    original = meta.integer("rope.scaling.original_context_length", context)
    factor = meta.number("rope.scaling.factor", context / original if kind == "longrope" else 1.0)
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if kind == "longrope" and factor > 1 else 1.0
    return Rope(
        base=meta.number("rope.freq_base", 10000.0),
        width=width,
        interleaved=interleaved,
        kind=kind,
        factor=factor,
        original_context=original,
        attention_factor=meta.number("rope.scaling.attn_factor", usual),
        beta_fast=meta.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=meta.number("rope.scaling.yarn_beta_slow", 1.0),
        low=meta.number("rope.scaling.low_freq_factor", 1.0),
        high=meta.number("rope.scaling.high_freq_factor", 4.0),
        long=meta.numbers("rope.scaling.long_factors"),
        short=meta.numbers("rope.scaling.short_factors"),
    )


async def read_divisors(checkpoint: Checkpoint, blobs: Blobs, rope: Rope, context: int) -> np.ndarray | None:
    """What each frequency is divided by for a cache of `context` positions: float64 [width / 2], or None."""
    name, listed = "rope_freqs.weight", ()
    if rope.kind == "longrope":
        far = context > rope.original_context
        name, listed = ("rope_factors_long.weight", rope.long) if far else ("rope_factors_short.weight", rope.short)
    tensor = checkpoint.tensors.get(name)
    if tensor is None:
        if rope.kind == "longrope" and len(listed) != rope.width // 2:
            raise CorruptModel(f"{checkpoint.name}: longrope needs {rope.width // 2} factors, found {len(listed)}.")
        return np.asarray(listed) if listed else None
    if tensor.type.name != "F32" or tensor.shape != (rope.width // 2,):
        raise UnsupportedModel(f"{checkpoint.name}: {name} must be F32 [{rope.width // 2}].")
    return np.frombuffer(await blobs.read(tensor.start, tensor.stop), "<f4").astype(np.float64)


def rope_table(rope: Rope, context: int, divisors: np.ndarray | None = None) -> np.ndarray:
    """cos and sin of every position: float32 [context, width / 2, 2], computed in float64.

    divisors: float [width / 2], from `read_divisors`. YaRN follows Peng et al. 2023: frequencies with few turns in
    the original context are interpolated, those with many kept; Llama 3 has another ramp between the two.
    """
    index = np.arange(0, rope.width, 2, dtype=np.float64)
    frequency = rope.base ** (-index / max(rope.width, 1))
    magnitude = rope.attention_factor
    if divisors is not None:
        frequency = frequency / divisors
    elif rope.kind == "llama3":
        turns = rope.original_context * frequency / (2 * math.pi)
        keep = np.clip((turns - rope.low) / (rope.high - rope.low), 0, 1)
        frequency = frequency * (keep + (1 - keep) / rope.factor)
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
