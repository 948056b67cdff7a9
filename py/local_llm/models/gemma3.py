"""Gemma 3: Gemma with norms behind attention and feed-forward and of q and k; five of six layers have a window.

Layers with a window have a rope base of their own, and no scaling. GGUF files do not say how scores are scaled: by the
width of a head, but by D / H in the 27B model.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models import gemma
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]

_LAYERS_OF_27B = 62


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), gemma.read_config(checkpoint)
    usual = config.scale if config.layers != _LAYERS_OF_27B else (config.width / config.heads) ** -0.5
    config = windowed(config, meta, [(i + 1) % 6 != 0 for i in range(config.layers)])
    base = meta.number("rope.freq_base_swa", 10000.0)
    near = replace(config.attention[0].rope, base=base, kind="none")
    return replace(
        config,
        attention=tuple(replace(a, rope=near) if a.window else a for a in config.attention),
        post_norm=True,
        qk_norm="head",
        scale=meta.number("attention.scale", usual),
        score_cap=meta.cap("attn_logit_softcapping"),
        logit_cap=meta.cap("final_logit_softcapping"),
    )
