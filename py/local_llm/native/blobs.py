"""The Blobs port in CPython: a local file, bytes in memory, a URL. Knows no format."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.gpu.ports import Blobs, Device, Handle
from local_llm.transfer import RETRIED, Identity, digest_of, total_of

_PIECE = 4 << 20  # a multiple of 4
_TIMEOUT_S = 60


async def open_blobs(source: str | os.PathLike[str] | bytes) -> Blobs:
    """The bytes of a path, an http(s) URL, or bytes themselves. Raises DownloadFailed where there is nothing."""
    if isinstance(source, bytes):
        return FileBlobs("the given bytes", BytesIO(source), len(source))
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _open_url(source)
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source))
    raise DownloadFailed(
        f"A model is wanted as a path, an http(s) URL or bytes; found {type(source).__name__}.",
        remedy="Pass one of these.",
    )


def _open_path(path: Path) -> Blobs:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DownloadFailed(
            f"The file {path} cannot be opened: {error.strerror}.",
            remedy="Check the path of the model file.",
            absent=isinstance(error, FileNotFoundError | NotADirectoryError),
        ) from None
    return FileBlobs(str(path), file, os.fstat(file.fileno()).st_size)


class FileBlobs:
    """See gpu.ports.Blobs; over an open file, which this object owns."""

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        self.name = name
        self.size = size
        self._file = file

    async def read(self, start: int, stop: int) -> bytes:
        return self._read(start, stop)

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        for at in range(start, stop, _PIECE):
            piece = self._read(at, min(at + _PIECE, stop))
            device.write(buffer, padded(piece), at - start)
            progress(len(piece))

    def _read(self, start: int, stop: int) -> bytes:
        try:
            self._file.seek(start)
            data = self._file.read(stop - start)
        except OSError as error:
            raise DownloadFailed(f"Reading {self.name} failed: {error.strerror}.") from None
        if len(data) < stop - start:
            raise cut_short(self.name, start, stop, start + len(data))
        return data

    def __del__(self) -> None:
        self._file.close()


class UrlBlobs:
    """See gpu.ports.Blobs; over a server that answers byte ranges, one request a range."""

    def __init__(self, url: str, identity: Identity) -> None:
        self.name = url
        self.size = identity.size
        self.identity = identity

    async def read(self, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        with request(self.name, start, stop) as response:
            return self._exactly(response, start, stop)

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        if start == stop:
            return
        with request(self.name, start, stop) as response:
            for at in range(start, stop, _PIECE):
                piece = self._exactly(response, at, min(at + _PIECE, stop))
                device.write(buffer, padded(piece), at - start)
                progress(len(piece))

    def _exactly(self, response: BinaryIO, start: int, stop: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < stop - start and (more := response.read(stop - start - len(data))):
                data += more
        except (OSError, HTTPException) as error:
            raise DownloadFailed(f"Reading {self.name} failed: {error}.", remedy="Try again.") from None
        if len(data) < stop - start:
            raise cut_short(self.name, start, stop, start + len(data))
        return bytes(data)


def _open_url(url: str) -> Blobs:
    response = request(url, 0, 1)
    if response.headers.get_content_type() == "text/html":
        response.close()
        text = f"{url} is an HTML page."  # as servers of single-page sites answer for any address
        raise DownloadFailed(text, remedy="Give the address of the file itself.", absent=True)
    identity = identity_of(response)
    if response.status == 206 and identity.size:
        response.close()
        return UrlBlobs(url, identity)
    # A server without ranges sends the whole file: keep it on disk for as long as it is used.
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (FileBlobs closes it)
    try:
        with response:
            shutil.copyfileobj(response, file, _PIECE)
    except (OSError, HTTPException) as error:
        file.close()
        raise DownloadFailed(f"Reading {url} failed: {error}.", remedy="Try again.") from None
    return FileBlobs(url, file, file.tell())


def identity_of(response: Any) -> Identity:
    """What an answer with a part of a file says of it. Size 0: nothing."""
    headers = response.headers
    told = {name: headers.get(name, "") for name in ("x-linked-etag", "repr-digest")}
    size = total_of(headers.get("Content-Range", "")) or 0
    return Identity(size, headers.get("ETag", ""), headers.get("Last-Modified", ""), digest_of(told))


def request(url: str, start: int, stop: int) -> Any:
    """The answer to a request for bytes [start, stop), perhaps of more of the file. Raises DownloadFailed."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{stop - 1}"})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        text = f"{url} answered {error.code} {error.reason}."
        if error.code == 416 and start == 0:
            text = f"{url} is empty."
        absent = 400 <= error.code < 500 and error.code not in RETRIED
        remedy = "Check the address of the model file." if absent else "Try again later."
        raise DownloadFailed(text, remedy=remedy, absent=absent, status=error.code) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadFailed(f"{url} cannot be reached: {reason}.", remedy="Check the address.") from None


def cut_short(name: str, start: int, stop: int, found: int) -> CorruptModel:
    """What to raise where bytes [start, stop) were wanted of a file of `found` bytes."""
    return CorruptModel(
        f"{name}: expected bytes {start} to {stop}, found that it ends at byte {found}.",
        remedy="Download the file again.",
    )


def padded(piece: bytes) -> bytes:
    """With zeros to a multiple of 4, as buffers are written."""
    return piece + bytes(-len(piece) % 4)
