"""OLMo 2 and 3: norms only behind attention and feed-forward, and norms of all of q and all of k.

In OLMo 3 three of four layers have a window, and no rope scaling.
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
    near = replace(config.attention[0].rope, kind="none", attention_factor=1.0)
    attention = tuple(replace(each, rope=near) if each.window else each for each in config.attention)
    return replace(config, attention=attention, pre_norm=False, post_norm=True, qk_norm="whole")
