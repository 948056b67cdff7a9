"""Gemma 2: Gemma with norms behind attention and feed-forward too, caps, and a window in every second layer.

GGUF files do not say how scores are scaled: by the width of a head, but by D / H in the 27B model.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models import gemma
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]

_LAYERS_OF_27B = 46


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), gemma.read_config(checkpoint)
    usual = config.scale if config.layers != _LAYERS_OF_27B else (config.width / config.heads) ** -0.5
    return replace(
        windowed(config, meta, [i % 2 == 0 for i in range(config.layers)]),
        post_norm=True,
        scale=meta.number("attention.scale", usual),
        score_cap=meta.cap("attn_logit_softcapping"),
        logit_cap=meta.cap("final_logit_softcapping"),
    )
