"""Files that belong together: several as one address space, and folders whose files are opened by name.

Knows no format and no host: how one file is opened is the host's `open_blobs`.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from local_llm.errors import CorruptModel, DownloadFailed, InvalidRequest
from local_llm.gpu.ports import Blobs, Device, Handle

OpenBlobs = Callable[[Any], Awaitable[Blobs]]

_PIECE = 4 << 20  # bytes; a multiple of 4
_APART = 8192  # bytes between two files: more than a window (windows.py) bridges


class JoinedBlobs:
    """See gpu.ports.Blobs; several files one after the other. Byte b of files[i] has the address starts[i] + b.

    A range must lie within one file: `starts` are multiples of 4, and far enough apart that no window spans two.
    """

    def __init__(self, name: str, files: Sequence[Blobs]) -> None:
        self.name = name
        self.files = tuple(files)
        self.size = sum(file.size for file in files)
        starts = [0]
        for file in files:
            starts.append(-(-(starts[-1] + file.size + _APART) // 4) * 4)
        self.starts = tuple(starts[:-1])

    async def read(self, start: int, stop: int) -> bytes:
        file, base = self._at(start)
        return await file.read(start - base, stop - base)

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        file, base = self._at(start)
        await file.stream_into(device, buffer, start - base, stop - base, progress)

    def _at(self, address: int) -> tuple[Blobs, int]:
        index = bisect_right(self.starts, address) - 1
        return self.files[index], self.starts[index]


class ObjectBlobs:
    """See gpu.ports.Blobs; over anything with `size` and `read(start, stop)`, which may be a coroutine function."""

    def __init__(self, source: Any) -> None:
        self.name = str(getattr(source, "name", "the given object"))
        try:
            self.size = int(source.size)
        except (TypeError, ValueError, OverflowError):
            raise InvalidRequest(f"{self.name}: size must be a number of bytes, found {source.size!r:.60}.") from None
        self._read = source.read

    async def read(self, start: int, stop: int) -> bytes:
        try:
            found = self._read(start, stop)
            if isinstance(found, Awaitable):
                found = await found
            data = found.to_bytes() if hasattr(found, "to_bytes") else bytes(found)  # the page's buffers have their way
        except Exception as error:  # of foreign code, whatever it is
            raise DownloadFailed(
                f"Reading {self.name} failed: {error}.",
                remedy="read(start, stop) must give bytes, or a promise of them.",
            ) from error
        if len(data) != stop - start:
            raise CorruptModel(
                f"{self.name}: expected bytes {start} to {stop}, found {len(data)} of these {stop - start}.",
                remedy="read(start, stop) must give just these bytes.",
            )
        return data

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        for at in range(start, stop, _PIECE):
            piece = await self.read(at, min(at + _PIECE, stop))
            device.write(buffer, piece + bytes(-len(piece) % 4), at - start)
            progress(len(piece))


def opener_of_objects(open_blobs: OpenBlobs) -> OpenBlobs:
    """open_blobs for what the host knows and for objects that can be read."""

    async def opened(source: Any) -> Blobs:
        if isinstance(source, str) or not (callable(getattr(source, "read", None)) and hasattr(source, "size")):
            return await open_blobs(source)
        return ObjectBlobs(source)

    return opened


class LateBlobs:
    """See gpu.ports.Blobs; a file of a folder whose size is known, opened when it is first read."""

    def __init__(self, folder: Folder, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._folder = folder
        self._file: Blobs | None = None

    async def read(self, start: int, stop: int) -> bytes:
        return await (await self._opened()).read(start, stop)

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        await (await self._opened()).stream_into(device, buffer, start, stop, progress)

    async def _opened(self) -> Blobs:
        if self._file is None:
            file = await self._folder.open(self.name)
            if file.size != self.size:
                raise CorruptModel(
                    f"{file.name}: expected {self.size} bytes, found {file.size}.", remedy="Download the file again."
                )
            self._file = file
        return self._file


@dataclass(frozen=True)
class Folder:
    """Files that are opened by name. names: those that are there; None where that cannot be known (a URL)."""

    name: str
    names: frozenset[str] | None
    sources: Callable[[str], Any]  # what the host opens for a file's name
    open_blobs: OpenBlobs

    async def open(self, file: str) -> Blobs:
        """Raises DownloadFailed, which names the file, where it is not there."""
        if self.names is not None and file.split("/")[0] not in self.names:
            text = f"{self.name} has no file {file}."
            raise DownloadFailed(text, remedy="Give all files of the model.", absent=True)
        return await self.open_blobs(self.sources(file))

    async def find(self, *files: str) -> Blobs | None:
        """The first of `files` that is there. Raises DownloadFailed where nobody says whether one is."""
        for file in files:
            try:
                return await self.open(file)
            except DownloadFailed as error:
                if not error.absent:
                    raise
        return None


def base_name(name: str) -> str:
    """The last part of a path or URL, without query."""
    return name.split("?")[0].split("#")[0].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def sibling(place: str, file: str) -> str:
    """A file beside the file `place` (a path or URL); place's query stays."""
    path, mark, query = place.partition("?")
    cut = max(path.rfind("/"), path.rfind("\\")) + 1
    return f"{path[:cut]}{file}{mark}{query}"


def folder_of_place(place: str | os.PathLike[str], open_blobs: OpenBlobs) -> Folder:
    """The folder that a directory or an address ending in `/` names, or in which a file lies."""
    text = os.fspath(place)
    if os.path.isdir(text):
        return Folder(text, frozenset(os.listdir(text)), lambda file: os.path.join(text, file), open_blobs)
    name = sibling(text, "").split("/resolve/")[0]  # of an address at Hugging Face the part that names the model
    return Folder(name, None, lambda file: sibling(text, file), open_blobs)


def folder_of_files(opened: Sequence[Blobs]) -> Folder:
    """A folder of files that are open already: the directory of the one that lies highest, and what is below it.

    Files elsewhere go by their last names. Of two that have the same name the first counts.
    """
    places = [file.name.split("?")[0].split("#")[0].replace("\\", "/") for file in opened]
    root = min((place[: place.rfind("/") + 1] for place in places), key=lambda path: path.count("/"), default="")
    names = [place[len(root) :] if root and place.startswith(root) else base_name(place) for place in places]
    files = dict(reversed(list(zip(names, opened, strict=True))))

    async def found(name: str) -> Blobs:
        if name not in files:
            text = f"The list of {len(files)} files has no {name}."
            raise DownloadFailed(text, remedy="Give all files of the model.", absent=True)
        return files[name]

    name = root.split("/resolve/")[0].rstrip("/") or f"the list of {len(opened)} files"
    return Folder(name, frozenset(name.split("/")[0] for name in files), str, found)
