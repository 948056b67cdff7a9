"""OLMo 2: norms only behind attention and feed-forward, and norms of all of q and all of k."""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    return replace(read_shape(checkpoint), pre_norm=False, post_norm=True, qk_norm="whole")
