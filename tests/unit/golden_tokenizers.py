"""The small vocabularies in golden/tokenizers.json as GGUF metadata. Knows no tokenizer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "tokenizers.json"


@cache
def golden() -> dict[str, Any]:
    """Kind → {"metadata": …, "ids": six hex digits a text}."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def metadata_of(kind: str) -> dict[str, Any]:
    """As formats.gguf would give it."""
    metadata = dict(golden()[kind]["metadata"])
    like = metadata.pop("like", None)
    if like is not None:
        metadata = golden()[like]["metadata"] | metadata
    for key, dtype in (("scores", np.float32), ("token_type", np.int32), ("precompiled_charsmap", np.uint8)):
        if f"tokenizer.ggml.{key}" in metadata:
            metadata[f"tokenizer.ggml.{key}"] = np.array(metadata[f"tokenizer.ggml.{key}"], dtype)
    return metadata
