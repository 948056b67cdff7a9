"""What has arrived of chunks that are on their way, in small files: a page that dies in a slow download loses little.

A file NUMBER.START.STOP-SHA256 holds bytes START to STOP of a chunk; as a chunk it counts only while it fits its
name. Knows no network.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from pyodide.ffi import JsException

from local_llm.browser.folders import Folder
from local_llm.browser.vault import Refused
from local_llm.errors import Busy, StorageFull

LOOK_SECONDS = 0.5  # between two looks at what has arrived: where a chunk takes less, nothing is written twice
_LEAST = 1 << 18  # bytes that are worth a file
_NAME = re.compile(r"(\d{6})\.(\d{8})\.(\d{8})-[0-9a-f]{64}")


def span_of(name: str) -> tuple[int, int, int] | None:
    """(chunk, start, stop) of what the file `name` holds; None where it is no part of a chunk."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def held(names: Iterable[str]) -> int:
    """Bytes in these parts of chunks."""
    return sum(stop - start for _, start, stop in filter(None, map(span_of, names)))


class Unfinished:
    """Parts of a file's chunks in `folder`, where `names` lie already; without a folder nothing is kept."""

    def __init__(self, folder: Folder | None, names: Iterable[str]) -> None:
        self._folder = folder
        self._names: dict[int, list[str]] = {}
        self._saved: dict[int, int] = {}  # so much of a chunk, from its start
        self._saving: dict[int, asyncio.Task[None]] = {}
        for name in sorted(names) if folder else ():
            if span := span_of(name):
                self._names.setdefault(span[0], []).append(name)

    @property
    def saving(self) -> Collection[asyncio.Task[None]]:
        """Parts that are being written."""
        return self._saving.values()

    def begun(self, index: int) -> bool:
        """Whether something of this chunk may be kept: a request begins with it, since its own begin is not needed."""
        return index in self._names

    async def restore(self, index: int, array: Any) -> int:
        """Put what is kept of a chunk into `array`; so many bytes, from its start. What does not fit is removed."""
        at, good = 0, []
        for name in self._names.get(index, ()):
            assert self._folder is not None  # it has names
            _, start, stop = span_of(name) or (0, 0, 0)
            wanted = start == at and start < stop < array.length
            data = await self._folder.taken(name) if wanted else None
            if data is None or data.length != stop - start:
                await swept(self._folder, [name])
                continue
            array.set(data, at)
            good.append(name)
            at = stop
        self._saved[index] = at
        self._names.pop(index, None)
        if good:
            self._names[index] = good
        return at

    def arrived(self, index: int, array: Any, at: int) -> None:
        """The first `at` bytes of a chunk's `array` have come: keep what is new in them, if it is worth that."""
        start = self._saved.get(index, 0)
        if self._folder is None or index in self._saving or at - start < _LEAST or at >= array.length:
            return
        self._saved[index] = at
        name = f"{index:06d}.{start:08d}.{at:08d}"
        self._saving[index] = asyncio.ensure_future(self._save(self._folder, index, name, array.slice(start, at)))

    async def _save(self, folder: Folder, index: int, name: str, data: Any) -> None:
        try:
            with suppress(StorageFull, Refused, JsException):  # it only saves time; the chunk will say the same
                name, _ = await folder.keep(name, data)
                self._names.setdefault(index, []).append(name)
        finally:
            del self._saving[index]

    async def finished(self, index: int) -> None:
        """The whole chunk is kept: its parts are not needed any more."""
        if index in self._saving:
            await asyncio.wait([self._saving[index]])
        self._saved.pop(index, None)
        await swept(self._folder, self._names.pop(index, ()))


async def swept(folder: Folder | None, names: Iterable[str]) -> None:
    """Remove these parts of chunks; one that stays does no harm."""
    if folder is not None:
        with suppress(Busy, Refused, JsException):
            for name in names:
                await folder.remove(name)
