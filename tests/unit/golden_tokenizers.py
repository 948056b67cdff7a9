"""The small vocabularies in golden/tokenizers.json as GGUF metadata. Knows no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def merges_of_scores(known: Mapping[str, int], scores: np.ndarray) -> list[str]:
    """ "left right" in order of rank, as text/merges.py has it, told one token after the other."""
    found = []
    for number, (text, token) in enumerate(known.items()):
        for cut in range(1, len(text)):
            if text[:cut] in known and text[cut:] in known:
                found.append((-scores[token], -cut, cut - len(text), number, f"{text[:cut]} {text[cut:]}"))
    return [merge for *_, merge in sorted(found)]
