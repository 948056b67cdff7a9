"""Folders of the browser's own file system (OPFS), as storage needs them. Knows no model and no URL."""

from __future__ import annotations

import asyncio
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from local_llm.browser.vault import MISSING, Shared, WholeDigest, WorkerFailure
from local_llm.errors import Busy, StorageFull

_ROOT = "local-llm-models"
_TRIES = 5
_PATIENT_TRIES = 50  # a tenth of a second apart


async def open_root() -> Folder | str:
    """The folder where models lie, or why this page can have none."""
    if not getattr(getattr(js.navigator, "storage", None), "getDirectory", None):
        return "This browser has no private file system (OPFS), or the page is not secure."
    try:
        handle = await (await js.navigator.storage.getDirectory()).getDirectoryHandle(_ROOT, _options(create=True))
    except JsException as error:  # pages from a file, private windows
        return f"The browser refuses storage to this page ({error.name})."
    if not hasattr(getattr(getattr(js, "FileSystemFileHandle", None), "prototype", None), "createWritable"):
        return "This browser's private file system cannot be written from a page."
    return Folder(handle, _ROOT, Shared())


class Folder:
    """One folder. path: from the private file system's root. worker: writes and reads chunks, if the page may have one.

    Chunks are files NUMBER-SHA256: one that was cut short or has changed does not fit its name.
    """

    def __init__(self, handle: Any, path: str, worker: Shared) -> None:
        self._handle = handle
        self._path = path
        self._worker = worker

    async def folder(self, name: str) -> Folder:
        """The folder `name` in this one; made where it is missing."""
        handle = await self._handle.getDirectoryHandle(name, _options(create=True))
        return Folder(handle, f"{self._path}/{name}", self._worker)

    def rest(self) -> None:
        """Nothing more is to be done soon."""
        self._worker.rest()

    async def names(self) -> list[str]:
        """Of the files and folders in it."""
        listed = self._handle.keys()  # of a directory handle: an iterator
        return [str(name) async for name in listed]

    async def read(self, name: str) -> Any | None:
        """A file's bytes as a Uint8Array; None where there is no such file, or it cannot be read."""
        for _ in range(_TRIES):
            try:
                file = await (await self._handle.getFileHandle(name)).getFile()
                return js.Uint8Array.new(await file.arrayBuffer())
            except JsException as error:
                if error.name == "NotFoundError":
                    return None
                if error.name != "NotReadableError":  # this one: it was replaced while it was read
                    raise
        return None

    async def write(self, name: str, data: Any) -> None:
        """Write a file: a text or a Uint8Array. It takes its place when all of it is written. Raises StorageFull.

        Who is cancelled here does not wait, but the file is written: half a write would keep its folder locked.
        """
        writing = asyncio.ensure_future(self._write(name, data))
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(writing)

    async def _write(self, name: str, data: Any) -> None:
        try:
            handle = await self._handle.getFileHandle(name, _options(create=True))
            stream = await handle.createWritable()
            try:
                await stream.write(data)
            except JsException:
                await stream.abort()
                raise
            await stream.close()
        except JsException as error:
            if error.name != "QuotaExceededError":
                raise
            await self.remove(name)
            raise _full() from None

    async def keep(self, number: int, data: Any) -> tuple[str, Any]:
        """Write a chunk; (its name, its bytes, perhaps as another array: `data` is given away). Raises StorageFull.

        Who is cancelled here does not wait, but the chunk is written.
        """
        keeping = asyncio.ensure_future(self._keep(f"{number:06d}", data))
        keeping.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(keeping)

    async def _keep(self, number: str, data: Any) -> tuple[str, Any]:
        vault = await self._worker.get()
        if vault is None:
            name = f"{number}-{await sha256(data)}"
            await self._write(name, data)
            return name, data
        try:
            name, data = await vault.ask("keep", self._path, number, hand_over=data)
        except WorkerFailure as failure:
            if failure.name != "QuotaExceededError":
                raise
            await self._forget(number)
            raise _full() from None
        return str(name), data

    async def _forget(self, number: str) -> None:
        """Remove what there is of a chunk."""
        for name in await self.names():
            if name.startswith(f"{number}-"):
                await self.remove(name)

    async def taken(self, name: str, spare: Any = None) -> Any | None:
        """A chunk's bytes as a Uint8Array; None where there are none that fit its name.

        spare: an array that nobody needs any more: it may come back as the chunk's.
        """
        vault = await self._worker.get()
        if vault is None:
            data = await self.read(name)
            return data if data is not None and name.endswith(await sha256(data)) else None
        try:
            return await vault.ask("take", self._path, name, hand_over=spare) or None
        except WorkerFailure as failure:
            if failure.name in MISSING:
                return None
            raise

    async def add_to(self, digest: WholeDigest, name: str) -> bool:
        """Add a chunk to a whole file's digest; False where there is none that fits its name."""
        if digest.off_thread:
            return await digest.add_file(self._path, name)
        data = await self.taken(name)
        if data is not None:
            await digest.add(data)
        return data is not None

    async def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it. Nothing happens where there is none.

        Raises Busy where something goes on writing in it.
        """
        for _ in range(_PATIENT_TRIES):
            try:
                await self._handle.removeEntry(name, _options(recursive=True))
                return
            except JsException as error:
                if error.name == "NotFoundError":
                    return
                if error.name != "NoModificationAllowedError":
                    raise
            await asyncio.sleep(0.1)
        raise Busy("A file of the model is being written.", remedy="Try again in a moment.")


async def sha256(data: Any) -> str:
    """Of a Uint8Array, in hexadecimal."""
    return (await js.crypto.subtle.digest("SHA-256", data)).to_bytes().hex()


def _full() -> StorageFull:
    return StorageFull("The browser's storage is full.", remedy="Delete models that you do not need.")


def _options(**values: Any) -> Any:
    return to_js(values, dict_converter=js.Object.fromEntries)
