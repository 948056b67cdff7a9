"""Kept models to and from a file: one file as it is, several as a tar whose first entry says what they are.

What comes from a file is untrusted: its names never become paths, and each chunk is held against what is said of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import js
from pyodide.ffi import to_js

from local_llm.browser.folders import Folder, sha256
from local_llm.browser.records import ABSENT, About, File
from local_llm.browser.vault import WholeDigest
from local_llm.errors import CorruptModel, InvalidRequest

_INDEX = re.compile(r"local-llm-([0-9a-f]{64})\.json")  # the list's own sha256
_BLOCK = 512  # of a tar
_MOST = 16 << 20  # bytes of an index
_LANES = 3  # chunks at a time


@dataclass(frozen=True)
class Part:
    """One file to be kept. body: a Blob. chunks: the names that its chunks must get, () where nobody knows.

    absent: it is known not to be there.
    """

    url: str
    model: str
    body: Any
    chunks: tuple[str, ...] = ()
    sha256: str = ""
    absent: bool = False


async def packed(files: Sequence[File]) -> tuple[str, Any]:
    """(a name, a Blob that need not be in memory) of a model's files. Raises CorruptModel."""
    abouts = [file.about for file in files if file.about]
    bodies = [_blob(await _checked(file)) for file in files]
    if len(bodies) == 1:
        return _basename(abouts[0].url), bodies[0]
    index = [{**asdict(about), "chunks": file.chunks} for about, file in zip(abouts, files, strict=True)]
    data = json.dumps({"files": index}).encode()
    pieces = [
        *_entry(f"local-llm-{hashlib.sha256(data).hexdigest()}.json", len(data)),
        to_js(data),
        *_padding(len(data)),
    ]
    for number, (about, body) in enumerate(zip(abouts, bodies, strict=True)):
        pieces += [*_entry(f"{number:03d}-{_basename(about.url)}", about.size), body, *_padding(about.size)]
    return f"{_basename(abouts[0].model.rstrip('/'))}.tar", _blob([*pieces, js.Uint8Array.new(2 * _BLOCK)])


async def _checked(file: File) -> list[Any]:
    """Its chunks as Blobs; each fits its name at this moment."""
    bodies = []
    for name in file.chunks:
        good = await file.folder.taken(name) is not None
        body = await file.folder.blob(name) if good else None
        if body is None:
            await file.folder.remove(name)
            text = f"A chunk of {file.about.url if file.about else file.name} has changed in the browser's storage."
            raise CorruptModel(text, remedy="Load the model: the chunk is fetched again. Then export it.")
        bodies.append(body)
    return bodies


async def unpacked(body: Any, model: str | None, sha256: str, chunk_bytes: int) -> list[Part]:
    """What a Blob holds: a tar of ours, or one file, which is `model`'s. Raises CorruptModel, InvalidRequest."""
    first = await _header(body, 0)
    if first is not None and (listed := _INDEX.fullmatch(first.name)):
        try:
            return await _parts(body, first.size, listed[1], model, chunk_bytes)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            text = f"A file that exportModel made was wanted; this one does not fit its own list ({error})."
            raise CorruptModel(text, remedy="Export the model anew.") from None
    if model is None:
        raise InvalidRequest("It is not known which model this file is.", remedy="Give the model's address, or its id.")
    return [Part(model, model, body, sha256=sha256)]


async def _list(body: Any, length: int, sha256: str) -> list[dict[str, Any]]:
    """A tar's list. Raises ValueError, TypeError or KeyError where it is not sound."""
    data = await _bytes(body, _BLOCK, _BLOCK + length) if length <= _MOST else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError("its list is damaged")
    return json.loads(data)["files"]


async def _parts(body: Any, length: int, sha256: str, model: str | None, chunk_bytes: int) -> list[Part]:
    """The parts that a tar lists. Raises ValueError, TypeError, KeyError or AttributeError where it is not sound."""
    at, parts = _BLOCK + _rounded(length), []
    for one in await _list(body, length, sha256):
        chunks = tuple(str(name) for name in one.pop("chunks"))
        about = About(**one)
        entry = await _header(body, at)
        if about.chunk_bytes != chunk_bytes or entry is None or entry.size != about.size or len(chunks) != about.count:
            raise ValueError("sizes differ")
        if not about.url.startswith(("https://", "http://")) or model not in (None, about.model):
            raise ValueError(f"it holds {about.url} of {about.model}")
        inside = body.slice(at + _BLOCK, at + _BLOCK + about.size)
        parts.append(Part(about.url, about.model, inside, chunks, absent=about.note == ABSENT and not about.size))
        at += _BLOCK + _rounded(about.size)
    return parts


async def read_through(part: Part, about: About) -> None:
    """Read a part to its end before anything gives way to it. Raises CorruptModel where it is not what it must be."""
    digest = WholeDigest()
    try:
        if part.sha256:
            await digest.begin()
        for index in range(about.count):
            piece = part.body.slice(index * about.chunk_bytes, min((index + 1) * about.chunk_bytes, about.size))
            data = js.Uint8Array.new(await piece.arrayBuffer())
            if part.chunks and f"{index:06d}-{await sha256(data)}" != part.chunks[index]:
                raise _changed(part, f"chunk {index} is another one")
            if part.sha256:
                await digest.add(data)
        if part.sha256 and (found := await digest.finish()) != part.sha256:
            raise _changed(part, f"expected the sha256 {part.sha256}, found {found}")
    finally:
        digest.end()


async def put_in(part: Part, folder: Folder, about: About) -> About:
    """Keep a part's chunks; what is known of it then. Raises CorruptModel, StorageFull."""
    names: dict[int, str] = {}

    async def lane(start: int) -> None:
        for index in range(start, about.count, _LANES):
            begin = index * about.chunk_bytes
            piece = part.body.slice(begin, min(begin + about.chunk_bytes, about.size))
            names[index], _ = await folder.keep(f"{index:06d}", js.Uint8Array.new(await piece.arrayBuffer()))
            if part.chunks and names[index] != part.chunks[index]:
                raise _changed(part, f"chunk {index} is another one")

    try:
        async with asyncio.TaskGroup() as lanes:
            for start in range(_LANES):
                lanes.create_task(lane(start))
    finally:
        while folder.writing:  # else it could come when something else lies there
            await asyncio.wait(folder.writing)
    if part.sha256 and (found := await _digest(folder, [names[index] for index in range(about.count)])) != part.sha256:
        raise _changed(part, f"expected the sha256 {part.sha256}, found {found}")
    return replace(about, sha256=part.sha256, note=ABSENT if part.absent else "")


def _changed(part: Part, why: str) -> CorruptModel:
    return CorruptModel(
        f"The file is not {part.url}: {why}.", remedy="Nothing of it was kept. Export or download it anew."
    )


async def _digest(folder: Folder, names: Sequence[str]) -> str:
    digest = WholeDigest()
    await digest.begin()
    try:
        good = [await folder.add_to(digest, name) for name in names]
        return await digest.finish() if all(good) else "chunks that the browser did not keep"
    finally:
        digest.end()


async def _header(body: Any, at: int) -> tarfile.TarInfo | None:
    data = await _bytes(body, at, at + _BLOCK)
    try:
        return tarfile.TarInfo.frombuf(data, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeError):
        return None


async def _bytes(body: Any, start: int, stop: int) -> bytes:
    return (await body.slice(start, stop).arrayBuffer()).to_bytes()


def _entry(name: str, size: int) -> list[Any]:
    made = tarfile.TarInfo(name)
    made.size = size
    return [to_js(made.tobuf(tarfile.GNU_FORMAT))]


def _rounded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _padding(size: int) -> list[Any]:
    return [js.Uint8Array.new(_rounded(size) - size)]


def _blob(pieces: Sequence[Any]) -> Any:
    return js.Blob.new(to_js(list(pieces)))


def _basename(url: str) -> str:
    name = url.split("?")[0].rstrip("/").rpartition("/")[2]
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)[-80:] or "model"
