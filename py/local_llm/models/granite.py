"""Granite 3: Llama's shape with multipliers of embeddings, of what layers add to the residual stream, and of logits.

Norms forget the size of the stream x, so layers may add to x / m what the model wants m times: the embeddings then
carry 1 / m, and eps 1 / m². Conversion to GGUF permutes q and k as for llama.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    meta, config = metadata_of(checkpoint), read_shape(checkpoint, interleaved=checkpoint.converted)
    residual = meta.number("residual_scale", 1.0)
    return replace(
        config,
        embedding_scale=meta.number("embedding_scale", 1.0) / residual,
        eps=config.eps / residual**2,
        logit_divisor=meta.number("logit_scale", 1.0),
    )
