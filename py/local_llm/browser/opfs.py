"""Folders of the browser's own file system (OPFS), as storage needs them. Knows no model and no URL."""

from __future__ import annotations

import asyncio
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from local_llm.errors import Busy, StorageFull

_ROOT = "local-llm-models"
_TRIES = 5
_PATIENT_TRIES = 50  # a tenth of a second apart


async def open_root() -> Folder | str:
    """The folder where models lie, or why this page can have none."""
    if not getattr(getattr(js.navigator, "storage", None), "getDirectory", None):
        return "This browser has no private file system (OPFS), or the page is not secure."
    if not hasattr(getattr(getattr(js, "FileSystemFileHandle", None), "prototype", None), "createWritable"):
        return "This browser's private file system cannot be written from a page."
    try:
        return await Folder(await js.navigator.storage.getDirectory()).folder(_ROOT)
    except JsException as error:  # pages from a file, private windows
        return f"The browser refuses storage to this page ({error.name})."


class Folder:
    """One folder. Files are written whole: a file of another length than was written is one that was cut short."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def folder(self, name: str) -> Folder:
        """The folder `name` in this one; made where it is missing."""
        return Folder(await self._handle.getDirectoryHandle(name, _options(create=True)))

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
            raise StorageFull("The browser's storage is full.", remedy="Delete models that you do not need.") from None

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


def _options(**values: Any) -> Any:
    return to_js(values, dict_converter=js.Object.fromEntries)
