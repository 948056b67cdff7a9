"""Ministral 3: Llama's shape with YaRN. Conversion to GGUF permutes q and k as for llama.

Beyond the original context queries would grow with the logarithm of their position; the context ends there instead.
"""

from __future__ import annotations

import math
from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), read_shape(checkpoint, interleaved=checkpoint.converted)
    rope = config.attention[0].rope
    if "rope.scaling.yarn_log_multiplier" in meta:  # GGUF's way to say which part of YaRN's magnitude is taken back
        part = meta.cap("rope.scaling.yarn_log_multiplier")
        rope = replace(rope, attention_factor=1 / (1 + 0.1 * part * math.log(rope.factor)))
    attention = tuple(replace(each, rope=rope) for each in config.attention)
    return replace(config, attention=attention, context=min(config.context, rope.original_context))
