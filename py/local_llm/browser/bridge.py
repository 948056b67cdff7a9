"""Finds the bridge's verbs (web/bridge.js) and turns the errors they throw into ours. Knows no verb.

boot.js registers the bridge as the Python module `local_llm_bridge`. Where the wheel was installed into somebody else's
Pyodide, the package's own copy is loaded on first use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, register_js_module, to_js
from pyodide_js import FS

from local_llm import errors

MODULE = "local_llm_bridge"
_IMPORTER = "localLlmImport"


async def load_bridge() -> Any:
    """The bridge as a module whose functions are the verbs."""
    try:
        return import_module(MODULE)
    except ImportError:
        register_js_module(MODULE, await _from_package("bridge.js", await _importer()))  # there is no boot.js
        return import_module(MODULE)


async def _importer() -> Any:
    """JavaScript's import() as a function. Where there is a document, no policy has to allow eval for it."""
    if not getattr(js, "document", None):
        from pyodide.code import run_js  # in a worker there is no other way

        return run_js("(url) => import(url)")
    options = js.Object.new()
    options.type = "text/javascript"
    code = f"globalThis.{_IMPORTER} = (url) => import(url)"
    script, ended = js.document.createElement("script"), asyncio.get_running_loop().create_future()
    heard = create_proxy(lambda event: ended.set_result(event.type))
    script.src = js.URL.createObjectURL(js.Blob.new(to_js([code]), options))
    script.onload = script.onerror = heard
    js.document.head.append(script)
    try:
        if await ended == "error":
            raise errors.DownloadFailed(
                "This page refuses a script out of the package.", remedy="Let its policy have script-src blob:."
            )
        return getattr(js, _IMPORTER)
    finally:
        js.URL.revokeObjectURL(script.src)
        script.remove()
        heard.destroy()


async def import_packaged(name: str) -> Any:
    """One of the JavaScript modules that the wheel carries."""
    return await _from_package(name, (await load_bridge()).importModule)


async def _from_package(name: str, use: Callable[[str], Awaitable[Any]]) -> Any:
    url = packaged_url(name)
    try:
        return await use(url)
    finally:
        js.URL.revokeObjectURL(url)


def packaged_url(name: str) -> str:
    """A blob's address of one of the scripts that the wheel carries; to be revoked."""
    options = js.Object.new()
    options.type = "text/javascript"
    data = FS.readFile(str(_path(name)))  # from the file system's own memory, past the Wasm heap
    return str(js.URL.createObjectURL(js.Blob.new(to_js([data]), options)))


def site_url(name: str) -> str | None:
    """The address of a file of the site; None where there is none, or it is of another origin than the page."""
    try:
        url = js.URL.new(name, import_module(MODULE).site)
    except (ImportError, AttributeError):
        return None
    return str(url.href) if url.origin == js.location.origin else None


def _path(name: str) -> Path:
    return Path(str(resources.files("local_llm"))) / "web" / name


def typed(error: Exception, context: str) -> Exception:
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
