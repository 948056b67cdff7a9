"""The Blobs port of the page: URLs, files a person picked, bytes. Knows no model format and no storage.

Bulk bytes go from the network or the file to the GPU as JavaScript's arrays, never through the Wasm heap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import js
from pyodide.ffi import JsException, JsProxy, to_js

from local_llm.browser.answers import REMEDY, probe, whole
from local_llm.browser.bridge import load_bridge, typed
from local_llm.browser.chunks import Chunks
from local_llm.browser.vault import Refused
from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.gpu.ports import Device, Handle
from local_llm.transfer import Patience

CHUNK_BYTES = 4 << 20  # a multiple of 4
_PIECE = 8 << 20
_IN_FLIGHT = 64 << 20  # bytes written before waiting for the GPU, so that a fast source cannot pile them up


class Pieces(Protocol):
    """Where a file's bytes come from."""

    name: str
    size: int

    async def part(self, start: int, stop: int) -> Any:
        """At least one of bytes [start, stop), from start, as a Uint8Array."""
        ...

    def stop(self) -> None:
        """Nobody waits for bytes any more."""
        ...


async def open_blobs(source: Any, patience: Patience | None = None, chunk_bytes: int = CHUNK_BYTES) -> BrowserBlobs:
    """source: a URL (relative ones to the page), a File or Blob, bytes or a Uint8Array. Nothing is kept."""
    bridge = await load_bridge()
    patience = patience or Patience()
    if isinstance(source, str):
        facts = await probe(source, patience)
        if facts.ranges and facts.identity:
            return BrowserBlobs(bridge, Chunks(bridge, source, facts.identity, patience, chunk_bytes))
        return BrowserBlobs(bridge, LocalPieces(source, await whole(source, patience)))
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = to_js(source)
    if isinstance(source, JsProxy):
        body = source if bridge.isBlob(source) else bridge.blobOf(source)
        return BrowserBlobs(bridge, LocalPieces(_name_of(source), body))
    raise DownloadFailed(
        f"A model is wanted as a URL, a File, a Blob or bytes; found {type(source).__name__}.",
        remedy="Pass one of these.",
    )


def _name_of(source: Any) -> str:
    """A file's path in the folder that was chosen, or its name."""
    return getattr(source, "webkitRelativePath", "") or getattr(source, "name", "the given bytes")


class LocalPieces:
    """See Pieces; over a Blob or File, which is never copied."""

    def __init__(self, name: str, body: Any) -> None:
        self.name = name
        self.size = int(body.size)
        self._body = body

    async def part(self, start: int, stop: int) -> Any:
        piece = self._body.slice(start, min(start + _PIECE, stop))
        return js.Uint8Array.new(await piece.arrayBuffer())

    def stop(self) -> None:
        """There is nothing to stop."""


class BrowserBlobs:
    """See gpu.ports.Blobs."""

    def __init__(self, bridge: Any, pieces: Pieces) -> None:
        self.name = pieces.name
        self.size = pieces.size
        self._bridge = bridge
        self._pieces = pieces

    async def read(self, start: int, stop: int) -> bytes:
        self._check(start, stop)
        parts, at = [], start
        while at < stop:
            parts.append((await self._part(at, stop)).to_bytes())
            at += len(parts[-1])
        return b"".join(parts)  # of one part: that, without a copy

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        self._check(start, stop)
        gpu = device.gpu  # pyright: ignore[reportAttributeAccessIssue]
        sink = self._bridge.openSink(gpu, buffer, stop - start)
        at, queued = start, 0
        while at < stop:
            piece = await self._part(at, stop)
            count = int(piece.length)
            self._bridge.put(sink, piece)
            at, queued = at + count, queued + count
            progress(count)
            if queued > _IN_FLIGHT:
                await gpu.queue.onSubmittedWorkDone()
                queued = 0

    async def _part(self, start: int, stop: int) -> Any:
        try:
            piece = await self._pieces.part(start, stop)
        except (JsException, Refused) as error:
            self._pieces.stop()
            ours = typed(error, f"Reading {self.name}")
            if ours is not error:
                raise ours from None
            text = f"Wanted the bytes of {self.name}; reading failed ({error})."
            raise DownloadFailed(text, remedy=REMEDY) from None
        except BaseException:
            self._pieces.stop()
            raise
        if not piece.length:
            raise CorruptModel(f"{self.name}: expected bytes {start} to {stop}, found the end of the file.")
        return piece

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.size:
            raise CorruptModel(
                f"Wanted bytes {start} to {stop} of {self.name}; it has {self.size} bytes.",
                remedy="The file is cut short or damaged: download it again.",
            )
