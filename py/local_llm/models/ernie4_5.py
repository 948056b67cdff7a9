"""ERNIE 4.5 (dense): Llama's shape; neighbours of a head turn together in every format."""

from __future__ import annotations

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    return read_shape(checkpoint, interleaved=True)
