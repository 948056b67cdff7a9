"""Folders of the browser's own file system (OPFS), see folders.py. Knows no model and no URL."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

import js
from pyodide.ffi import JsException, to_js

from local_llm.browser.folders import Folder, full
from local_llm.browser.vault import MISSING, Refused, Shared, WholeDigest
from local_llm.errors import Busy

T = TypeVar("T")
_ROOT = "local-llm-models"
_WRITTEN = ("NoModificationAllowedError", "InvalidModificationError")  # a file of it is written; one came meanwhile
_TRIES = 50  # to read a file while it is replaced (a quarter of them fail), to remove one that is written


async def open_root() -> OpfsFolder | str:
    """The folder where models lie, or why this page can have none."""
    if not getattr(getattr(js.navigator, "storage", None), "getDirectory", None):
        return "This browser has no private file system (OPFS), or the page is not secure."
    try:
        handle = await _directory(_ROOT)
    except JsException as error:  # pages from a file, private windows
        return f"The browser refuses storage to this page ({error.name})."
    if not hasattr(getattr(getattr(js, "FileSystemFileHandle", None), "prototype", None), "createWritable"):
        return "This browser's private file system cannot be written from a page."
    return OpfsFolder(handle, _ROOT, Shared())


class OpfsFolder(Folder):
    """See Folder. path: from the file system's root. worker: writes and reads pieces, if the page may have one."""

    kind = "opfs"

    def __init__(self, handle: Any, path: str, worker: Shared) -> None:
        self._handle = handle
        self._path = path
        self._worker = worker
        self._writing: set[asyncio.Task[Any]] = set()

    async def folder(self, name: str) -> OpfsFolder:
        path = f"{self._path}/{name}"
        try:
            handle = await self._handle.getDirectoryHandle(name, _options(create=True))
        except JsException as error:
            if error.name != "NotFoundError":
                raise
            self._handle = await _directory(self._path)  # the site's data was cleared while the page is open
            handle = await _directory(path)
        return OpfsFolder(handle, path, self._worker)

    def begin(self) -> None:
        self._worker.begin()

    def rest(self) -> None:
        self._worker.rest()

    async def names(self) -> list[str]:
        listed = self._handle.keys()  # of a directory handle: an iterator
        try:
            return [str(name) async for name in listed]
        except JsException as error:
            if error.name != "NotFoundError":
                raise
        return []  # it is gone

    async def read(self, name: str) -> Any | None:
        """See Folder. While it is replaced it is tried again, for a second."""
        for _ in range(_TRIES):
            try:
                handle = await self._handle.getFileHandle(name)
            except JsException as error:
                if error.name == "NotFoundError":
                    return None
                raise
            try:
                return js.Uint8Array.new(await (await handle.getFile()).arrayBuffer())
            except JsException as error:
                if error.name not in MISSING:  # these: it was replaced while it was read
                    raise
                await asyncio.sleep(0.02)
        return None

    async def write(self, name: str, data: Any) -> None:
        await self._to_its_end(self._write(name, data))

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
            raise full() from None

    async def keep(self, name: str, data: Any) -> tuple[str, Any]:
        return await self._to_its_end(self._keep(name, data))

    @property
    def writing(self) -> Collection[asyncio.Task[Any]]:
        return self._writing

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Who is cancelled does not wait, but the file is written: half a write would keep its folder locked."""
        writing = asyncio.ensure_future(work)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(writing)

    async def _keep(self, name: str, data: Any) -> tuple[str, Any]:
        vault = await self._worker.get()
        if vault is None:
            return await super().keep(name, data)
        try:
            full_name, data = await vault.ask("keep", self._path, name, hand_over=data)
        except Refused as failure:
            if failure.name != "QuotaExceededError":
                raise
            await self._forget(name)
            raise full() from None
        return str(full_name), data

    async def _forget(self, begin: str) -> None:
        """Remove what there is of a piece."""
        for name in await self.names():
            if name.startswith(f"{begin}-"):
                await self.remove(name)

    async def taken(self, name: str, spare: Any = None) -> Any | None:
        vault = await self._worker.get()
        if vault is None:
            return await super().taken(name)
        try:
            return await vault.ask("take", self._path, name, hand_over=spare) or None
        except Refused as failure:
            if failure.name in MISSING:
                return None
            raise

    async def add_to(self, digest: WholeDigest, name: str) -> bool:
        return await (digest.add_file(self._path, name) if digest.off_thread else super().add_to(digest, name))

    async def blob(self, name: str) -> Any | None:
        try:
            return await (await self._handle.getFileHandle(name)).getFile()
        except JsException as error:
            if error.name not in MISSING:
                raise
        return None

    async def remove(self, name: str) -> None:
        for _ in range(_TRIES):
            try:
                await self._handle.removeEntry(name, _options(recursive=True))
                return
            except JsException as error:
                if error.name == "NotFoundError":
                    return
                if error.name not in _WRITTEN:
                    raise
            await asyncio.sleep(0.1)
        raise Busy("A file of the model is being written.", remedy="Try again in a moment.")


async def _directory(path: str) -> Any:
    """The handle of a folder, which is made where it is missing."""
    handle = await js.navigator.storage.getDirectory()
    for name in path.split("/"):
        handle = await handle.getDirectoryHandle(name, _options(create=True))
    return handle


def _options(**values: Any) -> Any:
    return to_js(values, dict_converter=js.Object.fromEntries)
