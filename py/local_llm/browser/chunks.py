"""One file at a URL, fetched chunk by chunk by several requests, kept in a folder where there is one.

Bytes can be used while their chunk is still on its way. What was kept is checked against its digest when it is read,
and fetched again where it does not fit. Knows no model.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from local_llm.browser.answers import REMEDY, Answer, Broken, ask, identity_of
from local_llm.browser.folders import Folder
from local_llm.browser.unfinished import LOOK_SECONDS, Unfinished
from local_llm.browser.vault import WholeDigest
from local_llm.browser.waiting import within
from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.transfer import Identity, Patience, Reach, total_of

_POLL = 0.05  # seconds between two looks at a chunk that is on its way
_AHEAD = 12  # chunks held ahead of their use
_SPARE = 6  # arrays of a chunk's length that wait to be used again: new ones cost more than what comes into them
_READ_AHEAD = 8  # chunks read ahead of their use, where they are kept
_KEEPING = 4  # chunks being written while the next ones come
_STAGE = 1 << 20  # bytes that are read at once


class Chunks:
    """See blobs.Pieces. folder: holds chunk files `NUMBER-SHA256` with the names `kept`; None: nothing is kept.

    parts: names of files there that hold something of other chunks (unfinished.py).
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
        parts: tuple[str, ...] = (),
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
        self._unfinished = Unfinished(folder if ranges else None, parts)
        self._sha256 = sha256 if folder is not None else ""
        self._recent: dict[int, Any] = {}
        self._resting = False  # what is kept need not be in memory
        self._spare: list[Any] = []
        self._lanes: dict[int, Any] = {}  # by the chunk that each fills
        self._reading: dict[int, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()  # a chunk has come, or an error
        self._busy: set[int] = set()
        self._wanted = 0
        self._reach = Reach(chunk_bytes)
        self._error: Exception | None = None
        self._verifying: asyncio.Task[None] | None = None
        self._check_whole()

    # Using bytes

    async def part(self, start: int, stop: int) -> Any:
        """At least one of bytes [start, stop), from start: a Uint8Array. Raises DownloadFailed, CorruptModel."""
        index = start // self._chunk_bytes
        gated = bool(self._sha256) and index == self.count - 1
        self._resting = False
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
            await self._wait()

    def stop(self) -> None:
        """Break off all requests; the next use begins again."""
        tasks, self._tasks = (*self._tasks, *self._keeping, *filter(None, [self._verifying])), set()
        self._keeping = set()
        for task in tasks:
            task.cancel()
        self._verifying = None
        self._busy.clear()
        self._lanes.clear()

    @property
    def writing(self) -> list[asyncio.Task[Any]]:
        """What is still written of it after a stop: until it ends nobody else may begin with the file."""
        return [*self._unfinished.saving, *(self._folder.writing if self._folder else ())]

    @property
    def lacking(self) -> int:
        """Bytes that are not kept yet."""
        return self.size - sum(map(self._length, self._kept))

    def forget(self) -> None:
        """Hold no bytes in memory that are kept: they are not wanted soon."""
        self._resting = True
        self._recent = {index: data for index, data in self._recent.items() if index not in self._kept}
        self._spare = []

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _wait(self) -> None:
        """Until a chunk has come, or so much of one that it is worth a look."""
        self._news.clear()
        with suppress(TimeoutError):
            await within(self._news.wait(), _POLL)

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
        data = await folder.taken(self._kept[index], self._spare.pop() if self._spare else None)
        if data is None:
            await self._drop(index, folder)
        else:
            self._remember(index, data)
        return data

    async def _drop(self, index: int, folder: Folder) -> None:
        """A kept chunk was cut short or has changed: only this one is fetched again."""
        name = self._kept.pop(index, None)
        self.whole.clear()
        if name is not None:
            await folder.remove(name)

    def _remember(self, index: int, data: Any) -> None:
        if self._resting and index in self._kept:
            return
        self._recent[index] = data
        passed = [k for k in self._recent if not self._wanted - 1 <= k <= self._wanted + _AHEAD]
        arrays = [self._recent.pop(k) for k in passed]
        self._spare = [one for one in (*self._spare, *arrays) if one.length == self._chunk_bytes][:_SPARE]

    def _length(self, index: int) -> int:
        return min(self._chunk_bytes, self.size - index * self._chunk_bytes)

    # Fetching

    def _begin(self) -> None:
        """Let as many requests run as may."""
        lanes = 1 if not self._ranges else self._patience.lanes if self._folder else min(self._patience.lanes, 2)
        while len(self._tasks) < lanes and (index := self._next()) is not None:
            last = self._run_end(index)
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
        return next((index for index in order if self._missing(index)), None)

    def _run_end(self, index: int) -> int:
        """Where the missing chunks from `index` on end that one request may fetch."""
        most = max(1, self._reach.nbytes // self._chunk_bytes) if self._ranges else self.count
        most = most if self._folder else min(most, _AHEAD // 2)
        last = index + 1
        while last < min(index + most, self.count) and self._missing(last) and not self._unfinished.begun(last):
            last += 1
        return last

    def _missing(self, index: int) -> bool:
        return index not in self._kept and index not in self._busy and (bool(self._folder) or index not in self._recent)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks:  # it was stopped
            return
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._begin()
            return
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.stop()
        self._error = error if isinstance(error, Exception) else None
        self._news.set()

    async def _run(self, index: int, last: int) -> None:
        """Fetch chunks [index, last), going on at the next byte when a request breaks. Raises DownloadFailed."""
        lane = js.Object.new()
        stop, failures = min(last * self._chunk_bytes, self.size), 0
        self._enter(lane, index)
        lane.at = await self._unfinished.restore(index, lane.bytes)
        while index < last:
            answer, start = None, index * self._chunk_bytes + lane.at
            reach, began = (min(stop, start + self._reach.nbytes) if self._ranges else stop), time.monotonic()
            try:
                answer = await self._connect(lane, start, reach)
                while index < last and await self._filled(index, lane):
                    await self._finish(index, lane)
                    index += 1
                    if index < last:
                        self._enter(lane, index)
                if index < last and index * self._chunk_bytes + lane.at < reach:
                    raise Broken("the data ended early")
                self._reach.came(time.monotonic() - began)
                failures = 0
                continue
            except Broken as broken:
                if answer is not None:  # not refused
                    self._reach.broke(reach - start)
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
        fits = self._spare and self._length(index) == self._chunk_bytes
        lane.bytes, lane.at = self._spare.pop() if fits else js.Uint8Array.new(self._length(index)), 0
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
        lane.rest = None
        lane.stage, lane.reader = _reader(answer.body)
        lane.skip = start if answer.begins_at == 0 else 0  # the server sends all of it again
        return answer

    async def _filled(self, index: int, lane: Any) -> bool:
        """Wait until the lane's chunk is full: True; False where the answer ends before. Raises Broken."""
        filling = asyncio.ensure_future(self._bridge.fill(lane))
        stall, idle, before = self._patience.stall_seconds, 0.0, (lane.at, lane.skip)
        try:
            while not (await asyncio.wait([filling], timeout=min(LOOK_SECONDS, stall - idle)))[0]:
                now = (lane.at, lane.skip)
                idle, before = (idle + LOOK_SECONDS if now == before else 0.0), now
                if idle >= stall:
                    raise Broken(f"no byte came for {stall:g} seconds")
                self._unfinished.arrived(index, lane.bytes, lane.at)
        finally:
            filling.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return bool(filling.result())
        except JsException as error:
            raise Broken(f"the connection broke ({error})") from None

    async def _finish(self, index: int, lane: Any) -> None:
        """A chunk has come: keep it, while the next ones come."""
        if self._folder is None or index in self._kept:
            self._remember(index, lane.bytes)
            self._landed(index)
            return
        while len(self._keeping) >= _KEEPING:
            await asyncio.wait(self._keeping, return_when=asyncio.FIRST_COMPLETED)
        del self._lanes[index]  # its bytes are given away
        task = asyncio.ensure_future(self._keep(index, lane.bytes, self._folder))
        self._keeping.add(task)
        task.add_done_callback(self._kept_one)

    async def _keep(self, index: int, data: Any, folder: Folder) -> None:
        name, data = await folder.keep(f"{index:06d}", data)
        await asyncio.shield(self._unfinished.finished(index))  # what nobody needs goes, whoever stops
        self._kept[index] = name
        self._remember(index, data)
        self._landed(index)

    def _kept_one(self, task: asyncio.Task[None]) -> None:
        if task not in self._keeping:  # it was stopped
            return
        self._keeping.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _landed(self, index: int) -> None:
        self._lanes.pop(index, None)
        self._busy.discard(index)
        self._news.set()
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
            self._verifying.add_done_callback(self._verify_ended)

    def _verify_ended(self, task: asyncio.Task[None]) -> None:
        if task is self._verifying and not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _verified(self) -> None:
        folder = self._folder
        assert folder is not None  # only what is kept is verified
        digest = WholeDigest()
        await digest.begin()
        try:
            for index in range(self.count):
                while not (index in self._kept and await folder.add_to(digest, self._kept[index])):
                    if index in self._kept:
                        await self._drop(index, folder)
                    self._begin()
                    await self._wait()
            found = await digest.finish()
        finally:
            digest.end()
        if found == self._sha256:
            self._sha256 = ""
            self.whole.set()
            self._news.set()
            return
        for name in [*self._kept.values()]:
            await folder.remove(name)
        self._kept.clear()
        self._recent.clear()
        text = f"{self.name}: expected the sha256 {self._sha256}, found {found}."
        remedy = "Nothing of it was kept. Load it again; if it stays so, the server's file is not the wanted one."
        self._error, self._verifying = CorruptModel(text, remedy=remedy), None
        self._news.set()


def _reader(body: Any) -> tuple[Any, Any]:
    """An array for what is read, and a reader that fills it; (None, a reader that makes arrays) in some browsers."""
    try:
        return js.Uint8Array.new(_STAGE), body.getReader(to_js({"mode": "byob"}, dict_converter=js.Object.fromEntries))
    except JsException:
        return None, body.getReader()
