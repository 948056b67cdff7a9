"""Which module knows which architecture: one row per `general.architecture`."""

from __future__ import annotations

from typing import cast

from local_llm.errors import UnsupportedModel
from local_llm.models import (
    bert,
    ernie4_5,
    exaone4,
    gemma,
    gemma2,
    gemma3,
    gemma_embedding,
    granite,
    lfm2,
    llama,
    mistral3,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    smollm3,
)
from local_llm.models.model import Family

FAMILIES = {
    "llama": llama,
    "mistral3": mistral3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "phi3": phi3,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma-embedding": gemma_embedding,
    "olmo2": olmo2,
    "granite": granite,
    "smollm3": smollm3,
    "ernie4_5": ernie4_5,
    "exaone4": exaone4,
    "lfm2": lfm2,
    "bert": bert,
}


def family_of(name: str, architecture: object) -> Family:
    """The family's module. Raises UnsupportedModel that names the architecture and what is supported."""
    module = FAMILIES.get(architecture) if isinstance(architecture, str) else None
    if module is None:
        raise UnsupportedModel(
            f"{name}: architecture {architecture!r:.60} is not supported; supported: {', '.join(sorted(FAMILIES))}."
        )
    return cast(Family, module)
