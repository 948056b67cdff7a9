"""The Storage port of the page: models' files in the browser's private file system (OPFS), or its database.

A folder for each URL: `about.json` and the chunks (chunks.py). A Web Lock lets one tab download a file while others
wait, another one keeps files in use from being deleted. Knows no model format.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import js
from pyodide.ffi import JsException

from local_llm.browser.answers import Facts, probe
from local_llm.browser.blobs import CHUNK_BYTES, BrowserBlobs, open_blobs
from local_llm.browser.bridge import load_bridge
from local_llm.browser.carrying import Part, packed, put_in, read_through, unpacked
from local_llm.browser.chunks import Chunks
from local_llm.browser.folders import Folder
from local_llm.browser.indexed import open_indexed
from local_llm.browser.opfs import open_root
from local_llm.browser.records import (
    ABSENT,
    IMPORTED,
    About,
    File,
    about_of,
    file_of,
    folder_name,
    kept_of,
    write_about,
)
from local_llm.browser.unfinished import swept
from local_llm.errors import Busy, DownloadFailed, StorageFull, UnknownModel
from local_llm.gpu.ports import Blobs, Kept
from local_llm.transfer import Identity, Patience
from local_llm.widget.amounts import bytes_text


@dataclass(frozen=True)
class _Use:
    """A file in use. held: functions that let go of its locks."""

    chunks: Chunks
    model: str
    held: list[Callable[[], Any]]


class Library:
    """See gpu.ports.Storage. Where OPFS and IndexedDB are refused, files are streamed and nothing is kept."""

    def __init__(self, patience: Patience | None = None, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._patience = patience or Patience()
        self._chunk_bytes = chunk_bytes
        self._opening: asyncio.Future[Folder | str] | None = None
        self._using: dict[str, _Use] = {}  # by URL
        self._turn = asyncio.Lock()
        self._addresses: dict[str, str] = {}
        self._announced: dict[str, int] = {}  # bytes of a whole model, for which there must be room
        self._absent: dict[str, str] = {}  # models, by the URL of a file that is not there
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving: set[asyncio.Task[None]] = set()  # let go of locks when what is written is written
        self._noting = asyncio.Lock()

    def address(self, place: str) -> str:
        if place not in self._addresses:
            self._addresses[place] = str(js.URL.new(place, js.location.href).href).split("#")[0]
        return self._addresses[place]

    # Opening

    def opener(self, source: Any, sha256: str | None = None, nbytes: int = 0) -> Callable[[Any], Awaitable[Blobs]]:
        model = self.address(source) if isinstance(source, str) else ""
        expected = {model: sha256 or ""}
        self._announced = {model: nbytes}

        async def opened(file: Any) -> Blobs:
            url = self.address(file) if isinstance(file, str) else ""
            root = await self._root() if url.startswith(("http://", "https://")) else ""
            if isinstance(root, str):
                return await open_blobs(file, self._patience, self._chunk_bytes)
            return await self._open(root, file, model or url, expected.get(url, ""))

        return opened

    async def _open(self, root: Folder, place: str, model: str, sha256: str) -> Blobs:
        bridge, url = await load_bridge(), self.address(place)
        name = folder_name(url)
        async with self._turn:
            root.begin()
            if (use := self._using.get(url)) is not None:  # a file of a folder is looked for, then opened
                if await about_of(await root.folder(name)) is not None:
                    return BrowserBlobs(bridge, use.chunks)
                self._let_go(url)  # the site's data were cleared
            held = [await self._lock(f"use:{name}", "shared")]
            try:
                file = await file_of(root, name)
                if file.about is not None and file.about.note == ABSENT:
                    text = f"There was no {url} when {model} was loaded."
                    raise DownloadFailed(text, remedy="Delete the model here and load it again.", absent=True)
                if not file.fits(sha256):
                    held.append(await self._lock(f"write:{name}", "exclusive"))
                    file = await file_of(root, name)  # another tab may have fetched it meanwhile
                await swept(file.folder, file.done)
                facts = Facts(None, ranges=True)
                if not file.whole:
                    facts = await self._asked(root, file, place, model)
                    if facts.identity is None:  # no size: it cannot be checked nor resumed
                        _release(held)
                        return await open_blobs(place, self._patience, self._chunk_bytes)
                    file = await self._begun(root, file, url, model, facts.identity)
                    sha256 = sha256 or facts.identity.sha256
            except BaseException:
                _release(held)
                raise
            chunks = self._chunks(bridge, place, file, facts.ranges, sha256)
            self._using[url] = _Use(chunks, model, held)
        self._start(self._watch(chunks, file, sha256, held))
        return BrowserBlobs(bridge, chunks)

    async def _asked(self, root: Folder, file: File, place: str, model: str) -> Facts:
        """What the server says of a file. Where there is none nothing is left of it here."""
        try:
            return await probe(place, self._patience)
        except DownloadFailed as error:
            if error.absent:
                self._absent[self.address(place)] = model
            if file.about is None:
                await root.remove(file.name)
            raise

    def _chunks(self, bridge: Any, place: str, file: File, ranges: bool, sha256: str) -> Chunks:
        about = file.about
        assert about is not None  # a whole file has it, a begun one too
        unproved = "" if about.sha256 == sha256 else sha256
        more: dict[str, Any] = {"folder": file.folder, "kept": file.chunks, "sha256": unproved, "ranges": ranges}
        more["parts"] = file.parts
        return Chunks(bridge, place, about.identity, self._patience, about.chunk_bytes, **more)

    async def _begun(self, root: Folder, file: File, url: str, model: str, identity: Identity) -> File:
        """The folder of a file to be fetched: what is there of another version is removed, the rest has room."""
        about = About(url, model, self._chunk_bytes, identity.size, identity.etag, identity.modified)
        known = file.about
        same = known and not known.note and known.identity.fits(identity) and known.chunk_bytes == self._chunk_bytes
        if not same and (known or file.chunks or file.parts):  # without a record nobody knows of what version they are
            await root.remove(file.name)
            file = await file_of(root, file.name)
        await self._check_room(identity.size - about.held(file.chunks), url, model)
        about = replace(about, loaded_at=0, pinned=bool(known and known.pinned))
        await write_about(file.folder, about)
        return replace(file, about=about)

    async def _watch(self, chunks: Chunks, file: File, sha256: str, held: list[Callable[[], Any]]) -> None:
        """When all of a file is kept, let other tabs have it."""
        if len(held) == 1:
            return
        await chunks.whole.wait()
        if sha256:
            await self._note(file, sha256=sha256)
        if held:
            held.pop()()

    async def _note(self, file: File, **changes: Any) -> None:
        """Change what is known of a file: one after the other, or one change would undo another."""
        async with self._noting:
            about = await about_of(file.folder)
            if about is not None:  # else it was deleted meanwhile
                await write_about(file.folder, replace(about, **changes))

    async def _check_room(self, missing: int, url: str, model: str = "") -> None:
        """missing: bytes of one file. What others in use lack needs room, too, and a whole model of a known size."""
        alone, missing = missing, missing + sum(use.chunks.lacking for use in self._using.values())
        if announced := self._announced.pop(model, 0):
            kept = sum(one.nbytes for one in await self.kept() if one.model == model)
            missing = max(missing, announced - kept)
        if missing <= 0:
            return
        self._start(_persist())
        room = await self.room()
        free = room["quota_bytes"] - room["used_bytes"]
        if free >= missing or not room["quota_bytes"]:
            return
        what = f"{url} needs" if missing == alone else f"{url} and the files that come with it need"
        others = [
            f"{one.model} ({bytes_text(one.nbytes)})" for one in await self.kept() if one.model not in (url, model)
        ]
        remedy = f"Delete models that you do not need: {', '.join(others)}." if others else "Free space on this device."
        raise StorageFull(
            f"{what} {bytes_text(missing)}; this browser has room for {bytes_text(free)} more "
            f"(of {bytes_text(room['quota_bytes'])}): {bytes_text(missing - free)} are missing.",
            remedy=remedy,
            missing=missing - free,
        )

    # Locks

    async def _lock(self, name: str, mode: str, wait: bool = True) -> Any:
        """A Web Lock: returns what lets go of it; a false value where it is taken and nobody waits."""
        if not getattr(js.navigator, "locks", None):
            return lambda: None
        pending = asyncio.ensure_future((await load_bridge()).hold(f"local-llm:{name}", mode, wait))
        try:
            return await asyncio.shield(pending)
        except asyncio.CancelledError:  # it may still come
            pending.add_done_callback(lambda task: task.cancelled() or task.exception() or task.result()())
            raise

    def rest(self) -> None:
        self._absent.clear()
        for task in tuple(self._tasks):
            task.cancel()
        for url in tuple(self._using):
            self._let_go(url)
        root = self._opening.result() if self._opening and self._opening.done() else ""
        if not isinstance(root, str):
            root.rest()

    def _let_go(self, url: str) -> None:
        use = self._using.pop(url)
        use.chunks.stop()
        if use.chunks.writing:
            leaving = asyncio.ensure_future(_leave(use))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        else:
            _release(use.held)

    # What is kept

    async def loaded(self, source: Any) -> None:
        model, root = self.address(source) if isinstance(source, str) else None, await self._root()
        for use in self._using.values():
            use.chunks.forget()
        for url, of in self._absent.items():
            if of == model and not isinstance(root, str):
                folder = await root.folder(folder_name(url))
                await write_about(folder, About(url, of, self._chunk_bytes, 0, note=ABSENT))
        self._absent.clear()
        for file in await self._files():
            if file.about is not None and file.about.model == model:
                await self._note(file, loaded_at=round(time.time() * 1000))

    async def kept(self) -> list[Kept]:
        models: dict[str, list[File]] = {}
        for file in await self._files():
            if file.about is not None:
                models.setdefault(file.about.model, []).append(file)
        used = {use.model for use in self._using.values()}
        return [replace(kept_of(model, files), used=model in used) for model, files in models.items()]

    async def delete(self, model: str) -> int:
        freed, root, model = 0, await self._root(), self.address(model)
        if isinstance(root, str):
            return 0
        mine = [file for file in await self._files() if file.about and model in (file.about.model, file.about.url)]
        held = await self._alone([file.about.url for file in mine if file.about], model, "Unload it first.")
        try:
            for file in mine:
                await root.remove(file.name)
                freed += file.nbytes
        finally:
            _release(held)
        return freed

    async def _alone(self, urls: Sequence[str], model: str, remedy: str) -> list[Callable[[], Any]]:
        """Locks of files that nobody uses, here or in another tab, all of them. Raises Busy."""
        while self._leaving:
            await asyncio.wait(self._leaving)
        held: list[Callable[[], Any]] = []
        try:
            for url in urls:
                used = any(use.model == model for use in self._using.values()) or url in self._using
                got = None if used else await self._lock(f"use:{folder_name(url)}", "exclusive", wait=False)
                if not got:
                    raise Busy(f"{model} is in use{'' if used else ' in another tab'}.", remedy=remedy)
                held.append(got)
        except BaseException:
            _release(held)
            raise
        return held

    async def export(self, model: str) -> tuple[str, Any]:
        mine = [one for one in await self._files() if one.about and one.about.model == self.address(model)]
        if not mine or not all(file.whole for file in mine):
            raise UnknownModel(f"{model} is not kept here as a whole.", remedy="Load it first.")
        return await packed(mine)

    async def adopt(self, body: Any, model: str | None, sha256: str = "") -> list[str]:
        root = await self._root()
        if isinstance(root, str):
            raise StorageFull(f"Nothing can be kept here: {root}")
        parts = await unpacked(body, model and self.address(model), sha256, self._chunk_bytes)
        names = list(dict.fromkeys(part.model for part in parts))
        remedy = "Unload it, in all tabs, then import the file."
        held = await self._alone([part.url for part in parts], names[0] if names else "", remedy)
        try:
            await self._adopt(root, parts)
        finally:
            _release(held)
        return names

    async def _adopt(self, root: Folder, parts: list[Part]) -> None:
        """Keep all of these, or none; their locks are held. What was kept stays where they are damaged."""
        now, begun = round(time.time() * 1000), list[str]()
        abouts = [About(part.url, part.model, self._chunk_bytes, int(part.body.size)) for part in parts]
        try:
            for part, about in zip(parts, abouts, strict=True):
                if (await file_of(root, folder_name(part.url))).whole:
                    await read_through(part, about)
            for part, about in zip(parts, abouts, strict=True):
                begun.append(folder_name(part.url))
                await root.remove(begun[-1])
                await self._check_room(about.size, part.url)
                folder = await root.folder(begun[-1])
                await write_about(folder, replace(about, note=IMPORTED))  # a page that dies leaves what can be deleted
                await write_about(folder, replace(await put_in(part, folder, about), loaded_at=now))
        except BaseException as error:
            for name in begun:
                await root.remove(name)
            first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error  # of chunks put in side by side
            if isinstance(first, JsException):
                raise DownloadFailed(f"The file cannot be read ({first}).", remedy="Choose it again.") from None
            raise first from None

    async def pin(self, model: str, pinned: bool) -> None:
        for file in await self._files():
            if file.about is not None and file.about.model == self.address(model):
                await self._note(file, pinned=pinned)

    async def room(self) -> Mapping[str, Any]:
        root = await self._root()
        kind = {"kind": None, "reason": root} if isinstance(root, str) else {"kind": root.kind, "reason": ""}
        try:
            storage = js.navigator.storage
            estimate = await storage.estimate()
            used, quota, lasting = int(estimate.usage), int(estimate.quota), bool(await storage.persisted())
        except (JsException, AttributeError):
            used, quota, lasting = 0, 0, False
        return {**kind, "used_bytes": used, "quota_bytes": quota, "persistent": lasting}

    async def _root(self) -> Folder | str:
        if self._opening is None:
            self._opening = asyncio.ensure_future(_open_root())
        return await asyncio.shield(self._opening)

    async def _files(self) -> list[File]:
        root = await self._root()
        return [] if isinstance(root, str) else [await file_of(root, name) for name in await root.names()]

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _persist() -> None:
    """Ask the browser not to clear this site's storage; some ask the person, so nobody waits."""
    try:
        await js.navigator.storage.persist()
    except (JsException, AttributeError):
        return


async def _open_root() -> Folder | str:
    """The private file system, or the browser's database where that is missing; why there is neither."""
    root = await open_root()
    found = await open_indexed() if isinstance(root, str) else root
    return f"{root} {found}" if isinstance(found, str) else found


async def _leave(use: _Use) -> None:
    while use.chunks.writing:
        await asyncio.wait(use.chunks.writing)
    _release(use.held)


def _release(held: list[Callable[[], Any]]) -> None:
    while held:
        held.pop()()
