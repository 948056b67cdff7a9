"""The Tokenizer port in CPython, over PyPI `tokenizers`: the same Rust library as the page's wasm build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local_llm.errors import UnsupportedModel


async def open_tokenizer(json: bytes) -> NativeTokenizer:
    """A tokenizer from the text of a tokenizer.json. Raises UnsupportedModel where the library refuses it."""
    import tokenizers

    try:
        return NativeTokenizer(tokenizers.Tokenizer.from_buffer(json))
    except Exception as error:  # the library raises bare Exception
        raise UnsupportedModel(f"The tokenizer cannot be built: {error}.") from None


class NativeTokenizer:
    """See gpu.ports.Tokenizer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def encode(self, text: str) -> list[int]:
        return self._inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._inner.decode(list(ids), skip_special_tokens=False)
