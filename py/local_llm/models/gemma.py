"""Gemma 1: Llama's shape with gelu, embeddings times √D and norms whose weights Hugging Face and MLC keep as w - 1."""

from __future__ import annotations

import math
from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    config = read_shape(checkpoint)
    addend = 0.0 if checkpoint.converted else 1.0
    return replace(config, activation="gelu", embedding_scale=math.sqrt(config.width), norm_addend=addend)
