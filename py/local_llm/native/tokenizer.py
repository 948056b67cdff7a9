"""The Tokenizer port in CPython, over PyPI `tokenizers`: the same Rust library as the page's wasm build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from local_llm.errors import UnsupportedModel


async def open_tokenizer(json: bytes) -> NativeTokenizer:
    """A tokenizer from the text of a tokenizer.json. Raises UnsupportedModel where the library refuses it.

    So do its methods, on texts that this tokenizer cannot cope with.
    """
    import tokenizers

    with _typed("The tokenizer cannot be built"):
        return NativeTokenizer(tokenizers.Tokenizer.from_buffer(json))


class NativeTokenizer:
    """See gpu.ports.Tokenizer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def encode(self, text: str) -> list[int]:
        with _typed("The model's tokenizer fails on a text"):
            return self._inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        with _typed("The model's tokenizer fails on ids"):
            return self._inner.decode(list(ids), skip_special_tokens=False)


@contextmanager
def _typed(what: str) -> Iterator[None]:
    """The library raises bare Exception, and where Rust panics, what is no Exception."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UnsupportedModel(f"{what}: {error!s:.200}.", remedy="Use another copy of the model.") from None
