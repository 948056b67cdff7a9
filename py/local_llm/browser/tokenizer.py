"""The Tokenizer port of the page: Hugging Face's Rust library as wasm (@mlc-ai/web-tokenizers). Knows no model.

The library is a script of 5 MB, loaded on first use: the site's own file, or the copy that the wheel carries.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from local_llm.browser.bridge import import_text, packaged
from local_llm.errors import CorruptModel, DownloadFailed

# The library is a UMD script: these lines make it hand over its exports whatever loader the page has.
_BEFORE = "const exports = {}, module = { exports };\n"
_AFTER = "\nexport const Tokenizer = exports.Tokenizer;\n"


def tokenizer_opener(url: str | None) -> Callable[[bytes], Awaitable[WasmTokenizer]]:
    """The Host's open_tokenizer. url: where the script lies; None: inside the package."""
    library: list[Any] = []

    async def open_tokenizer(definition: bytes) -> WasmTokenizer:
        if not library:
            code = packaged("tokenizers.js") if url is None else await _fetched(url)
            library.append((await import_text(_BEFORE, code, _AFTER)).Tokenizer)
        try:
            return WasmTokenizer(await library[0].fromJSON(to_js(definition).buffer))
        except JsException as error:
            raise CorruptModel(f"The tokenizer's definition was refused: {error}.") from None

    return open_tokenizer


async def _fetched(url: str) -> Any:
    """A Blob: 5 MB that Python need not hold."""
    try:
        answer = await js.fetch(url)
    except JsException as error:
        raise DownloadFailed(f"Wanted the tokenizer library at {url}; the request failed ({error}).") from None
    if not answer.ok:
        raise DownloadFailed(f"Wanted the tokenizer library at {url}; the server answered {answer.status}.")
    return await answer.blob()


class WasmTokenizer:
    """See gpu.ports.Tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        weakref.finalize(self, tokenizer.dispose)  # its memory is the library's, out of reach of both collectors

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).to_py().tolist()

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(to_js(ids))
