"""The Tokenizer port of the page: Hugging Face's Rust library as wasm (@mlc-ai/web-tokenizers). Knows no model.

The library is a module of 5 MB, loaded on first use: the site's own file, or the copy that the wheel carries. The build
makes a module of the library's script (tools/site.py): a strict content-security policy lets that in.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pyodide.ffi import JsException, to_js

from local_llm.browser.bridge import import_packaged, load_bridge
from local_llm.errors import CorruptModel, DownloadFailed, UnsupportedModel


def tokenizer_opener(url: str | None) -> Callable[[bytes], Awaitable[WasmTokenizer]]:
    """The Host's open_tokenizer. url: where the script lies; None: inside the package."""
    library: list[Any] = []

    async def open_tokenizer(definition: bytes) -> WasmTokenizer:
        if not library:
            module = await import_packaged("tokenizers.js") if url is None else await _imported(url)
            library.append(module.Tokenizer)
        try:
            return WasmTokenizer(await library[0].fromJSON(to_js(definition).buffer))
        except JsException as error:
            raise CorruptModel(f"The tokenizer's definition was refused: {error}.") from None

    return open_tokenizer


async def _imported(url: str) -> Any:
    """The site's file: 5 MB that Python need not hold."""
    try:
        return await (await load_bridge()).importModule(url)
    except JsException as error:
        raise DownloadFailed(f"Wanted the tokenizer library at {url}; it could not be imported ({error}).") from None


class WasmTokenizer:
    """See gpu.ports.Tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        weakref.finalize(self, tokenizer.dispose)  # its memory is the library's, out of reach of both collectors

    def encode(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode(text).to_py().tolist()
        except JsException as error:
            raise UnsupportedModel(f"The model's tokenizer fails on a text: {error!s:.200}.") from None

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(to_js(ids))
