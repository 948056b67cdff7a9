"""EmbeddingGemma: Gemma 3 whose tokens see each other, near ones in most layers; the mean goes through two matrices."""

from __future__ import annotations

from dataclasses import replace

from local_llm.errors import UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.models import decoder, gemma3
from local_llm.models.bert import head
from local_llm.models.config import Config, metadata_of
from local_llm.models.decoder import layers
from local_llm.models.weights import Stack, Vector

__all__ = ["head", "layers", "read_config", "stacks"]

_DENSE = ("dense_2", "dense_3")


def read_config(checkpoint: Checkpoint) -> Config:
    config = gemma3.read_config(checkpoint)
    pooling = config.pooling if "pooling_type" in metadata_of(checkpoint) else "mean"
    # The window is told as the width of both sides together.
    attention = tuple(replace(each, window=each.window // 2 + 1 if each.window else 0) for each in config.attention)
    return replace(config, attention=attention, causal=False, pooling=pooling, dense=_DENSE)


def stacks(checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    first = checkpoint.tensors.get("dense_2.weight")
    if first is None or "dense_3.weight" not in checkpoint.tensors or first.shape[0] > 2 * config.ffn_width:
        raise UnsupportedModel(
            f"{checkpoint.name} lacks the two matrices that EmbeddingGemma's vectors go through.",
            remedy="Use a GGUF file that holds dense_2 and dense_3.",
        )
    rows, d = first.shape[0], config.width
    return [*decoder.stacks(checkpoint, config), decoder.matrix("dense_2", rows, d), decoder.matrix("dense_3", d, rows)]
