"""One file at a URL, fetched chunk by chunk by several requests, kept in a folder where there is one.

Bytes can be used while their chunk is still on its way. What was kept is checked against its digest when it is read,
and fetched again where it does not fit. Knows no model.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import js
from pyodide.ffi import JsException

from local_llm.browser.answers import REMEDY, Answer, Broken, ask, identity_of
from local_llm.browser.opfs import Folder
from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.transfer import Identity, Patience, total_of

_POLL = 0.05  # seconds between two looks at a chunk that is on its way
_AHEAD = 4  # chunks fetched ahead of their use, where they are not kept
_READ_AHEAD = 3  # chunks read ahead of their use, where they are kept
_SHORTEST = 1 << 18  # bytes of a request where longer ones break


class Chunks:
    """See blobs.Pieces. folder: holds chunk files `NUMBER-SHA256` with the names `kept`; None: nothing is kept.

    ranges: the server serves parts. sha256: of the whole file, where it is known and kept bytes have not been held
    against it yet; then the last chunk is not given out before the whole fits.
    """

    def __init__(
        self,
        bridge: Any,
        url: str,
        identity: Identity,
        patience: Patience,
        chunk_bytes: int,
        *,
        ranges: bool = True,
        folder: Folder | None = None,
        kept: tuple[str, ...] = (),
        sha256: str = "",
    ) -> None:
        self.name = url
        self.size = identity.size
        self.count = -(-identity.size // chunk_bytes)
        self.whole = asyncio.Event()  # every chunk is kept, and fits
        self._bridge = bridge
        self._identity = identity
        self._patience = patience
        self._chunk_bytes = chunk_bytes
        self._ranges = ranges
        self._folder = folder
        self._kept = {int(name.split("-")[0]): name for name in kept}
        self._sha256 = sha256 if folder is not None else ""
        self._recent: dict[int, Any] = {}
        self._lanes: dict[int, Any] = {}  # by the chunk that each fills
        self._reading: dict[int, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[int] = set()
        self._wanted = 0
        self._reach = chunk_bytes
        self._error: Exception | None = None
        self._verifying: asyncio.Task[None] | None = None
        self._check_whole()

    # Using bytes

    async def part(self, start: int, stop: int) -> Any:
        """At least one of bytes [start, stop), from start: a Uint8Array. Raises DownloadFailed, CorruptModel."""
        index = start // self._chunk_bytes
        gated = bool(self._sha256) and index == self.count - 1
        self._wanted, base = index, index * self._chunk_bytes
        while True:
            self._raise()
            found = None if gated and self._sha256 else await self._held(index)
            if found is not None:
                self._read_ahead(index)
                return found.subarray(start - base, min(stop - base, found.length))
            self._begin()
            lane = self._lanes.get(index)
            if lane is not None and lane.at > start - base and not gated:
                return lane.bytes.subarray(start - base, min(stop - base, lane.at))
            await asyncio.sleep(_POLL)

    def stop(self) -> None:
        """Break off all requests; the next use begins again."""
        tasks, self._tasks = self._tasks, set()
        for task in (*tasks, *filter(None, [self._verifying])):
            task.cancel()
        self._verifying = None
        self._busy.clear()
        self._lanes.clear()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _held(self, index: int) -> Any | None:
        """A whole chunk from memory or the folder."""
        if index in self._recent:
            return self._recent[index]
        if index not in self._kept or self._folder is None:
            return None
        return await asyncio.shield(self._reading.get(index) or self._read(index, self._folder))

    def _read_ahead(self, index: int) -> None:
        """Storage and digest of the next chunks are at work while this one goes to the GPU."""
        for later in range(index + 1, min(index + 1 + _READ_AHEAD, self.count)):
            if later in self._kept and later not in self._recent and later not in self._reading and self._folder:
                self._read(later, self._folder)

    def _read(self, index: int, folder: Folder) -> asyncio.Task[Any]:
        task = self._reading[index] = asyncio.ensure_future(self._checked(index, folder))
        task.add_done_callback(lambda done: self._reading.pop(index, None) and done.exception())
        return task

    async def _checked(self, index: int, folder: Folder) -> Any | None:
        name = self._kept[index]
        data = await folder.read(name)
        if data is None or data.length != self._length(index) or await _sha256(data) != name.split("-")[1]:
            self._kept.pop(index, None)  # it was cut short or has changed: only this one is fetched again
            self.whole.clear()
            await folder.remove(name)
            return None
        self._remember(index, data)
        return data

    def _remember(self, index: int, data: Any) -> None:
        ahead = _READ_AHEAD if self._folder else _AHEAD
        self._recent[index] = data
        self._recent = {k: v for k, v in self._recent.items() if self._wanted - 1 <= k <= self._wanted + ahead}

    def _length(self, index: int) -> int:
        return min(self._chunk_bytes, self.size - index * self._chunk_bytes)

    # Fetching

    def _begin(self) -> None:
        """Let as many requests run as may."""
        lanes = self._patience.lanes if self._ranges else 1
        while len(self._tasks) < lanes and (index := self._next()) is not None:
            last = index + 1
            while not self._ranges and last < self.count and last not in self._kept:
                last += 1
            self._busy.update(range(index, last))
            task = asyncio.ensure_future(self._run(index, last))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if self._sha256:
            self._verify()

    def _next(self) -> int | None:
        """The chunk to fetch next: the first missing one from where bytes are used, then from the start."""
        first, stop = self._wanted, self.count
        if self._folder is None:
            order = range(first, min(first + _AHEAD, stop))
        elif not self._ranges:
            order = range(stop) if not self._busy else range(0)
        else:
            order = (*range(first, stop), *range(first))
        held = (self._kept, self._busy, self._recent if self._folder is None else ())
        return next((index for index in order if not any(index in known for known in held)), None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks:  # it was stopped
            return
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._begin()
            return
        self.stop()
        self._error = error if isinstance(error, Exception) else None

    async def _run(self, index: int, last: int) -> None:
        """Fetch chunks [index, last), going on at the next byte when a request breaks. Raises DownloadFailed."""
        lane = js.Object.new()
        stop, failures = min(last * self._chunk_bytes, self.size), 0
        self._enter(lane, index)
        while index < last:
            answer, start = None, index * self._chunk_bytes + lane.at
            reach = min(stop, start + self._reach) if self._ranges else stop
            try:
                answer = await self._connect(lane, start, reach)
                while index < last and await self._filled(lane):
                    await self._finish(index, lane)
                    index += 1
                    if index < last:
                        self._enter(lane, index)
                if index < last and index * self._chunk_bytes + lane.at < reach:
                    raise Broken("the data ended early")
                self._reach = min(2 * self._reach, self._chunk_bytes)
                failures = 0
                continue
            except Broken as broken:
                # A browser drops what it has received of a request that breaks: shorter ones lose less.
                self._reach = max((reach - start) // 2, min(_SHORTEST, self._chunk_bytes))
                failures = 0 if index * self._chunk_bytes + lane.at > start else failures + 1
                if failures >= self._patience.attempts:
                    text = f"Wanted the bytes of {self.name}; {broken}, {failures} times in a row."
                    raise DownloadFailed(text, remedy=REMEDY) from None
                pause = self._patience.pause(failures, broken.asked, random.random())
                pause = pause if failures or broken.asked else 0.0
            finally:
                if answer is not None:
                    answer.end()
            await asyncio.sleep(pause)

    def _enter(self, lane: Any, index: int) -> None:
        lane.bytes, lane.at = js.Uint8Array.new(self._length(index)), 0
        self._lanes[index] = lane

    async def _connect(self, lane: Any, start: int, stop: int) -> Answer:
        answer = await ask(self.name, self._patience, start, stop)
        size = total_of(answer.headers["content-range"])
        length = answer.headers["content-length"]
        if answer.status == 200 and length.isdigit() and not answer.headers["content-encoding"]:
            size = int(length)
        if not self._identity.fits(identity_of(answer, size or self.size)) or answer.begins_at not in (start, 0, None):
            answer.end()
            text = f"{self.name} has changed on the server while it was downloaded; its parts do not fit together."
            raise DownloadFailed(text, remedy="Load it again: that begins with the new file.")
        lane.reader, lane.rest = answer.body.getReader(), None
        lane.skip = start if answer.begins_at == 0 else 0  # the server sends all of it again
        return answer

    async def _filled(self, lane: Any) -> bool:
        """Wait until the lane's chunk is full: True; False where the answer ends before. Raises Broken."""
        filling = asyncio.ensure_future(self._bridge.fill(lane))
        try:
            while True:
                before = (lane.at, lane.skip)
                done, _ = await asyncio.wait([filling], timeout=self._patience.stall_seconds)
                if done:
                    break
                if (lane.at, lane.skip) == before:
                    raise Broken(f"no byte came for {self._patience.stall_seconds:g} seconds")
        finally:
            filling.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return bool(filling.result())
        except JsException as error:
            raise Broken(f"the connection broke ({error})") from None

    async def _finish(self, index: int, lane: Any) -> None:
        """A chunk has come: keep it."""
        data = lane.bytes
        if self._folder is not None and index not in self._kept:
            name = f"{index:06d}-{await _sha256(data)}"
            await self._folder.write(name, data)
            self._kept[index] = name
        self._remember(index, data)
        self._lanes.pop(index, None)
        self._busy.discard(index)
        self._check_whole()

    # The whole file

    def _check_whole(self) -> None:
        if len(self._kept) == self.count and self._sha256:
            self._verify()
        elif len(self._kept) == self.count:
            self.whole.set()

    def _verify(self) -> None:
        """Hold all bytes against the file's digest, while they come."""
        if self._verifying is None:
            self._verifying = asyncio.ensure_future(self._verified())

    async def _verified(self) -> None:
        digest = hashlib.sha256()
        for index in range(self.count):
            while (data := await self._held(index)) is None:
                self._begin()
                await asyncio.sleep(_POLL)
            digest.update(data.to_bytes())
        if digest.hexdigest() == self._sha256:
            self._sha256 = ""
            self.whole.set()
            return
        if self._folder is not None:
            for name in self._kept.values():
                await self._folder.remove(name)
        self._kept.clear()
        self._recent.clear()
        self._error = CorruptModel(
            f"{self.name}: expected the sha256 {self._sha256}, found {digest.hexdigest()}.",
            remedy="Nothing of it was kept. Load it again; if it stays so, the server's file is not the wanted one.",
        )
        self._verifying = None


async def _sha256(data: Any) -> str:
    return (await js.crypto.subtle.digest("SHA-256", data)).to_bytes().hex()
