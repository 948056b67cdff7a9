"""EXAONE 4: norms only behind attention and feed-forward, and of each head of q and k.

Where some layers have a window, those that see everything rotate nothing.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    config = read_shape(checkpoint)
    config = windowed(config, metadata_of(checkpoint), [(i + 1) % 4 != 0 for i in range(config.layers)])
    attention = config.attention
    if any(each.window for each in attention):
        still = replace(attention[0].rope, width=0)
        attention = tuple(each if each.window else replace(each, rope=still) for each in attention)
    return replace(config, attention=attention, pre_norm=False, post_norm=True, qk_norm="head")
