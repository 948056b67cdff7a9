"""SmolLM3: Llama's shape; every fourth layer rotates nothing. Conversion to GGUF permutes q and k as for llama."""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), read_shape(checkpoint, interleaved=checkpoint.converted)
    pattern = meta.flags("rope.pattern", [(i + 1) % 4 != 0 for i in range(config.layers)])
    still = replace(config.attention[0].rope, width=0)
    pairs = zip(config.attention, pattern, strict=True)
    return replace(config, attention=tuple(a if turns else replace(a, rope=still) for a, turns in pairs))
