"""Phi-3, 3.5 and 4-mini: Llama's shape with q, k, v and gate, up fused, longrope, and (4-mini) partly rotated heads."""

from __future__ import annotations

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    return windowed(read_shape(checkpoint), metadata_of(checkpoint))
