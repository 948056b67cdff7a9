"""Qwen3: Llama's shape with a norm of each head of q and k."""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    return replace(windowed(read_shape(checkpoint), metadata_of(checkpoint)), qk_norm="head")
