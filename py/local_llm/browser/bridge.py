"""Finds the bridge's verbs (web/bridge.js) and turns the errors they throw into ours. Knows no verb.

boot.js registers the bridge as the Python module `local_llm_bridge`. Where the wheel was installed into somebody else's
Pyodide, the package's own copy is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, resources
from typing import Any

import js
from pyodide.ffi import JsException, register_js_module, to_js

from local_llm import errors

MODULE = "local_llm_bridge"


async def load_bridge() -> Any:
    """The bridge as a module whose functions are the verbs."""
    try:
        return import_module(MODULE)
    except ImportError:
        from pyodide.code import (
            run_js,
        )  # somebody else's Pyodide, perhaps in a worker: there is no other way to import()

        register_js_module(MODULE, await _with_url([packaged("bridge.js")], run_js("(url) => import(url)")))
        return import_module(MODULE)


def packaged(name: str) -> str:
    """Text of one of the JavaScript files that the wheel carries."""
    return resources.files("local_llm").joinpath("web", name).read_text(encoding="utf-8")


async def import_text(*parts: Any) -> Any:
    """The JavaScript module whose text is these strings and Blobs in a row."""
    return await _with_url(parts, (await load_bridge()).importModule)


async def _with_url(parts: Sequence[Any], use: Callable[[str], Awaitable[Any]]) -> Any:
    options = js.Object.new()
    options.type = "text/javascript"
    url = js.URL.createObjectURL(js.Blob.new(to_js(list(parts)), options))
    try:
        return await use(url)
    finally:
        js.URL.revokeObjectURL(url)


def typed(error: JsException, context: str) -> Exception:
    """Our error for one that the bridge threw by our name, else `error` itself. context: what was being done."""
    name = str(getattr(error, "name", ""))
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.LocalLLMError)):
        return error
    return kind(f"{context}: {getattr(error, 'message', error)}".rstrip(".") + ".")


@contextmanager
def typed_errors(context: str) -> Iterator[None]:
    """Raise what the bridge throws as our errors."""
    try:
        yield
    except JsException as error:
        raise typed(error, context) from None
