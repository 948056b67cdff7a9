"""Files from the network, kept on this machine's disk in chunks and checked when they are read. Knows no format.

Each version of a file has a folder, with chunks NUMBER-SHA256 as in the page's storage (browser/chunks.py): one that
was cut short or has changed does not fit its name and is fetched again, alone. `about.json` tells the version.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.gpu.ports import Blobs, Device, Handle
from local_llm.native.absences import Absences
from local_llm.native.blobs import UrlBlobs, cut_short, identity_of, open_blobs, padded, request
from local_llm.transfer import RETRIED, Identity, Patience, start_of

CHUNK_BYTES = 4 << 20
_HELD = 2  # chunks in memory: a piece may begin in one and end in the next
_SPARE = 1 << 30  # bytes of the disk that stay free


def cached_opener(
    folder: Path, patience: Patience | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Callable[[Any], Awaitable[Blobs]]:
    """open_blobs for which files at http(s) addresses are kept in `folder`, and found again without a request.

    Nor is one made for those that are not there, once the model has been loaded: see absences.py.
    """

    def place_of(url: str) -> Path:
        return folder / hashlib.sha256(url.encode()).hexdigest()[:32]

    patience = patience or Patience(attempts=4)
    absences = Absences(place_of, partial(_asked, patience=patience))

    async def opened(source: Any) -> Blobs:
        if not (isinstance(source, str) and source.startswith(("http://", "https://"))):
            return await open_blobs(source)
        place = place_of(source)
        identity = _known(place)
        shelf = Shelf(place, identity, chunk_bytes) if identity else None
        if shelf is None or not shelf.whole:
            plain = await absences.open(source)
            if not isinstance(plain, UrlBlobs) or not _begun(place, source, plain.identity):
                return plain
            shelf = Shelf(place, plain.identity, chunk_bytes)
        return CachedBlobs(source, shelf, patience, partial(absences.done_without, source))

    return opened


async def _asked(url: str, patience: Patience) -> Blobs:
    """open_blobs; once more where the server says that it may work later. Raises DownloadFailed."""
    failures = 0
    while True:
        try:
            return await open_blobs(url)
        except DownloadFailed as error:
            failures += 1
            if error.status not in RETRIED or failures >= patience.opening:
                raise
        await asyncio.sleep(patience.pause(failures, None, random.random()))


def _known(place: Path) -> Identity | None:
    """Of the version that lies here; None where none does."""
    try:
        about = json.loads((place / "about.json").read_text(encoding="utf-8"))
        return Identity(int(about["size"]), str(about["etag"]), str(about["modified"]), str(about["sha256"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _begun(place: Path, url: str, identity: Identity) -> bool:
    """Whether the file can be kept: other versions of it are removed, this one has room."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for other in place.iterdir():
            if other.is_dir() and other.name != _version(identity):
                shutil.rmtree(other, ignore_errors=True)
        if shutil.disk_usage(place).free < identity.size - _bytes_in(place) + _SPARE:
            return False
        _write(place / "about.json", json.dumps({"url": url, **asdict(identity)}).encode())
    except OSError:  # a disk that is full, or not ours to write
        return False
    return True


def _bytes_in(place: Path) -> int:
    """Of the files of all versions. What another process renames or removes meanwhile does not count."""
    total = 0
    for version in place.iterdir():
        with suppress(FileNotFoundError, NotADirectoryError):
            for file in version.iterdir():
                with suppress(FileNotFoundError):
                    total += file.stat().st_size
    return total


def _version(identity: Identity) -> str:
    return hashlib.sha256(repr((identity.size, identity.etag, identity.modified)).encode()).hexdigest()[:16]


def _write(path: Path, data: bytes) -> None:
    """It takes its place when all of it is written."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Shelf:
    """The chunks of one version of a file, in a folder of their own below `place`."""

    def __init__(self, place: Path, identity: Identity, chunk_bytes: int) -> None:
        self.identity = identity
        self.chunk_bytes = chunk_bytes
        self._count = -(-identity.size // chunk_bytes)
        self._folder = place / _version(identity)
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in self._folder.glob("*-*") if path.name[:6].isdigit() and path.suffix != ".tmp"]
        self._names = {int(name[:6]): name for name in names if int(name[:6]) < self._count}

    @property
    def whole(self) -> bool:
        return len(self._names) == self._count

    def take(self, index: int) -> bytes | None:
        """A chunk's bytes; None where there are none that fit its name."""
        name = self._names.get(index)
        if name is None:
            return None
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            data = b""
        length = min(self.chunk_bytes, self.identity.size - index * self.chunk_bytes)
        if len(data) == length and name.endswith(hashlib.sha256(data).hexdigest()):
            return data
        with suppress(OSError):
            (self._folder / name).unlink()
        del self._names[index]
        return None

    def keep(self, index: int, data: bytes) -> None:
        """Where the disk takes it: a download goes on without. The last one makes the file whole: see `check`."""
        name = f"{index:06d}-{hashlib.sha256(data).hexdigest()}"
        with suppress(OSError):
            _write(self._folder / name, data)
            self._names[index] = name

    def check(self, url: str, index: int, data: bytes) -> None:
        """Hold all bytes, with this last chunk, against the file's digest, where the server told it.

        Where a kept one proves damaged nothing is judged: that one is then the last. Raises CorruptModel; then nothing
        is kept.
        """
        if not self.identity.sha256 or len({*self._names, index}) < self._count:
            return
        digest = hashlib.sha256()
        for number in range(self._count):
            piece = data if number == index else self.take(number)
            if piece is None:
                return
            digest.update(piece)
        if digest.hexdigest() == self.identity.sha256:
            return
        for name in self._names.values():
            (self._folder / name).unlink(missing_ok=True)
        self._names.clear()
        text = f"{url}: expected the sha256 {self.identity.sha256}, found {digest.hexdigest()}."
        raise CorruptModel(text, remedy="Nothing of it was kept. Load it again.")


class CachedBlobs:
    """See gpu.ports.Blobs; what is not on the shelf comes by one request for as long as it is read in order.

    loading(): hears that its bytes go to a device.
    """

    def __init__(self, url: str, shelf: Shelf, patience: Patience, loading: Callable[[], None]) -> None:
        self.name = url
        self.size = shelf.identity.size
        self._shelf = shelf
        self._patience = patience
        self._loading = loading
        self._held: dict[int, bytes] = {}
        self._body: BinaryIO | None = None
        self._at = 0  # the body's next byte

    async def read(self, start: int, stop: int) -> bytes:
        if stop > self.size:
            raise cut_short(self.name, start, stop, self.size)
        parts, length = [], self._shelf.chunk_bytes
        while start < stop:
            index = start // length
            data = await self._chunk(index)
            parts.append(data[start - index * length : stop - index * length])
            start += len(parts[-1])
        return b"".join(parts)

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        self._loading()
        for at in range(start, stop, self._shelf.chunk_bytes):
            piece = await self.read(at, min(at + self._shelf.chunk_bytes, stop))
            device.write(buffer, padded(piece), at - start)
            progress(len(piece))

    async def _chunk(self, index: int) -> bytes:
        data = self._held.get(index) or self._shelf.take(index)
        if data is None:
            data = await self._fetched(index)
            self._shelf.check(self.name, index, data)
            self._shelf.keep(index, data)
        self._held = {**{key: self._held[key] for key in [*self._held][1 - _HELD :] if key != index}, index: data}
        return data

    async def _fetched(self, index: int) -> bytes:
        """Goes on at the next byte when a connection breaks. Raises DownloadFailed."""
        start = index * self._shelf.chunk_bytes
        stop, data, failures = min(start + self._shelf.chunk_bytes, self.size), bytearray(), 0
        while start + len(data) < stop:
            try:
                more = self._more(start + len(data), stop)
            except (OSError, HTTPException) as error:
                more, why = b"", str(error)
            else:
                why = "the data ended early"
            failures = 0 if more else failures + 1
            data += more
            if more:
                continue
            self._end()
            if failures >= self._patience.attempts:
                raise DownloadFailed(f"Reading {self.name} failed: {why}.", remedy="Try again: what came is kept.")
            await asyncio.sleep(self._patience.pause(failures, None, random.random()))
        return bytes(data)

    def _more(self, start: int, stop: int) -> bytes:
        """Some of these bytes, b"" where the body ended. Raises OSError, HTTPException, DownloadFailed."""
        if self._body is None or self._at != start:
            self._end()
            try:
                response = request(self.name, start, self.size)
            except DownloadFailed as error:  # the server may be back in a moment
                raise OSError(error.message) from None
            fits = response.status == 206 and start_of(response.headers.get("Content-Range", "")) == start
            if not fits or not self._shelf.identity.fits(identity_of(response)):
                response.close()
                text = f"{self.name} has changed on the server; its parts do not fit together."
                raise DownloadFailed(text, remedy="Load it again: that begins with the new file.")
            self._body, self._at = response, start
        assert self._body is not None  # it begins or goes on at `start`
        more = self._body.read(min(stop - start, 1 << 20))
        self._at += len(more)
        if self._at == self.size:
            self._end()
        return more

    def _end(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def __del__(self) -> None:
        self._end()
