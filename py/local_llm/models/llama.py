"""The llama family: Llama 2 and 3, and all of its shape (Mistral, SmolLM 1 and 2, TinyLlama, Yi, Falcon 3, DeepSeek's).

Conversion to GGUF permutes q and k for interleaved RoPE; Hugging Face's and MLC's files are not permuted.
"""

from __future__ import annotations

from local_llm.formats.checkpoint import Checkpoint
from local_llm.models.config import Config, metadata_of, windowed
from local_llm.models.config import read_config as read_shape
from local_llm.models.decoder import head, layers, stacks

__all__ = ["head", "layers", "read_config", "stacks"]


def read_config(checkpoint: Checkpoint) -> Config:
    return windowed(read_shape(checkpoint, interleaved=checkpoint.converted), metadata_of(checkpoint))
