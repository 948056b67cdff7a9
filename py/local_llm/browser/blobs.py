"""The Blobs port of the page: URLs, files a person picked, bytes. Knows no model format.

Bulk bytes go from the network or the file to the GPU inside the bridge, never through the Wasm heap. A URL's
consecutive ranges share one request, so a loader that reads a file forwards downloads it in one piece.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from pyodide.ffi import JsException, JsProxy, create_proxy, to_js

from local_llm.browser.bridge import load_bridge, typed
from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.gpu.ports import Device, Handle

_REMEDY = "Check the address in another tab; the server must allow this page to read it (CORS)."
_WRONG = "Check the address: it must be that of the file itself, not of a page about it."


async def open_blobs(source: Any) -> BrowserBlobs:
    """source: a URL (relative ones to the page), a File or Blob, bytes or a Uint8Array."""
    bridge = await load_bridge()
    if isinstance(source, str):
        return await _open_url(bridge, source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = to_js(source)
    if isinstance(source, JsProxy):
        body = source if bridge.isBlob(source) else bridge.blobOf(source)
        return BrowserBlobs(bridge, _name_of(source), body, int(body.size))
    raise DownloadFailed(
        f"A model is wanted as a URL, a File, a Blob or bytes; found {type(source).__name__}.",
        remedy="Pass one of these.",
    )


def _name_of(source: Any) -> str:
    """A file's path in the folder that was chosen, or its name."""
    return getattr(source, "webkitRelativePath", "") or getattr(source, "name", "the given bytes")


async def _open_url(bridge: Any, url: str) -> BrowserBlobs:
    try:
        found = json.loads(await bridge.probe(url))
    except JsException as error:
        ours = typed(error, f"Wanted a model file at {url}")  # the single file says so what it does not hold
        failed = DownloadFailed(f"Wanted a model file at {url}; the request failed ({error}).", remedy=_REMEDY)
        raise (failed if ours is error else ours) from None
    status = found["status"]
    if status not in (200, 206):
        raise DownloadFailed(f"Wanted a file at {url}; the server answered {status}.", remedy=_WRONG)
    if found["type"].startswith("text/html"):
        raise DownloadFailed(f"Wanted a model file at {url}; found an HTML page.", remedy=_WRONG)
    if found["total"] is not None:
        return BrowserBlobs(bridge, url, url, found["total"])
    try:  # no byte ranges here: fetch the whole into the browser's blob store, which is not the Wasm heap
        body = await bridge.download(url)
    except JsException as error:
        raise DownloadFailed(f"Wanted all of {url}; the download broke ({error}).", remedy=_REMEDY) from None
    return BrowserBlobs(bridge, url, body, int(body.size))


class BrowserBlobs:
    """See gpu.ports.Blobs."""

    def __init__(self, bridge: Any, name: str, body: Any, size: int) -> None:
        self.name = name
        self.size = size
        self._bridge = bridge
        self._source = bridge.openSource(body)
        self._turn = asyncio.Lock()  # one reader runs through the file

    async def read(self, start: int, stop: int) -> bytes:
        self._check(start, stop)
        if start == stop:
            return b""
        try:
            data = (await self._bridge.readRange(self._source, start, stop)).to_bytes()
        except JsException as error:
            raise self._failed(error) from None
        if len(data) != stop - start:
            raise CorruptModel(
                f"Wanted bytes {start} to {stop} of {self.name}; found {len(data)} of these {stop - start}.",
                remedy="Load it again; if it stays so, the file is damaged.",
            )
        return data

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        self._check(start, stop)
        report = create_proxy(progress)
        gpu = device.gpu  # pyright: ignore[reportAttributeAccessIssue]
        async with self._turn:
            try:
                await self._bridge.fetchInto(gpu, buffer, self._source, start, stop, report)
            except JsException as error:
                raise self._failed(error) from None
            except asyncio.CancelledError:
                self._bridge.stopSource(self._source)
                raise
            finally:
                report.destroy()

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.size:
            raise CorruptModel(
                f"Wanted bytes {start} to {stop} of {self.name}; it has {self.size} bytes.",
                remedy="The file is cut short or damaged: download it again.",
            )

    def _failed(self, error: JsException) -> Exception:
        ours = typed(error, f"Reading {self.name}")
        if ours is not error:
            return ours
        return DownloadFailed(f"Wanted the bytes of {self.name}; the connection broke ({error}).", remedy=_REMEDY)
