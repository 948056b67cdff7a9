"""Reads the head of a GGUF file: metadata and tensor directory, from byte ranges. Never reads a weight.

The file is untrusted: every length is held against the file's size before anything of that length is made.
Knows no architecture, no GPU and no host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from local_llm.errors import UnsupportedModel
from local_llm.formats.checkpoint import MOST_TENSORS, Checkpoint, Tensor
from local_llm.formats.cursor import Cursor, Short, shown
from local_llm.formats.quant import BY_CODE, SUPPORTED_FORMATS, TensorType
from local_llm.formats.values import read_value
from local_llm.gpu.ports import Blobs

T = TypeVar("T")

_FIRST_READ = 2 << 20  # holds the whole head of a model with 49k tokens
_HEAD_LIMIT = 32 << 20  # real heads stay under 16 MiB; more would only serve to fill memory
_MOST_ENTRIES = 1 << 16
_MAX_DIMS = 4
_SMALLEST_ENTRY = 8 + 1 + 4 + 1  # key length, key, type, value
_SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8  # name length, name, dims, one dim, type, offset


@dataclass(frozen=True)
class GGUF(Checkpoint):
    """The head of a file. Metadata arrays are numpy arrays (numbers), `Strings` (text) or tuples (of arrays)."""

    version: int
    data_start: int  # where the first tensor may begin


async def read_gguf(blobs: Blobs) -> GGUF:
    """Read the head of `blobs`. Raises CorruptModel, UnsupportedModel, or DownloadFailed."""
    head = Cursor(blobs.name, blobs.size, _HEAD_LIMIT)
    version, tensor_count, entry_count = await _grown(head, blobs, _read_counts)
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        at = head.at
        key, value = await _grown(head, blobs, _read_entry)
        if key in metadata:
            raise head.corrupt(at, "a new metadata key", f"{shown(key)} a second time")
        metadata[key] = value
    alignment = _alignment(head, metadata)
    raw: dict[str, tuple[tuple[int, ...], TensorType, int, int]] = {}
    for _ in range(tensor_count):
        at = head.at
        name, shape, kind, offset = await _grown(head, blobs, _read_tensor)
        if name in raw:
            raise head.corrupt(at, "a new tensor name", f"{shown(name)} a second time")
        raw[name] = (shape, kind, offset, at)
    data_start = -(-head.at // alignment) * alignment
    tensors = {
        name: _place(head, name, shape, kind, data_start, offset, alignment, at)
        for name, (shape, kind, offset, at) in raw.items()
    }
    _check_overlaps(head, tensors)
    return GGUF(blobs.name, metadata, tensors, blobs.size, True, version, data_start)


async def _grown(head: Cursor, blobs: Blobs, parse: Callable[[Cursor], T]) -> T:
    """parse(head), reading on from the file whenever the bytes at hand run out. Nothing is read twice."""
    while True:
        at, spent = head.at, head.spent
        try:
            return parse(head)
        except Short as short:
            head.at, head.spent = at, spent
            have = len(head.data)
            stop = min(max(short.stop, 2 * have, _FIRST_READ), head.size)
            head.extend(await blobs.read(have, stop))


def _read_counts(head: Cursor) -> tuple[int, int, int]:
    magic = head.peek(16)
    if magic[:4] != b"GGUF":
        raise head.corrupt(0, "a GGUF file, which begins with 'GGUF'", _looks_like(magic))
    head.at = 4
    version = head.u32("the version")
    if version & 0xFFFF == 0 and version:
        raise UnsupportedModel(
            f"{head.name} is a big-endian GGUF file.", remedy="Use the little-endian file, which every model has."
        )
    if version not in (2, 3):
        raise UnsupportedModel(
            f"{head.name} is GGUF version {version}; versions 2 and 3 are supported.",
            remedy="Convert the model again with a current converter.",
        )
    tensors = head.count("tensors", _SMALLEST_TENSOR)
    entries = head.count("metadata entries", _SMALLEST_ENTRY)
    for what, count, most in (("tensors", tensors, MOST_TENSORS), ("metadata entries", entries, _MOST_ENTRIES)):
        if count > most:
            raise head.corrupt(8, f"at most {most} {what}", str(count))
    return version, tensors, entries


def _looks_like(start: bytes) -> str:
    text = start.lstrip().lower()
    known = (
        (text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")), "an HTML page"),
        (text.startswith(b"version https:"), "a Git LFS pointer instead of the file"),
        (start[:4] == b"PK\x03\x04", "a zip archive"),
        (start[8:9] == b"{" and start[4:8] == bytes(4), "a safetensors file"),
        (start[:2] == b"\x1f\x8b", "a gzip archive"),
        (start[:4] in (b"lmgg", b"tjgg", b"fmgg"), "an old GGML file, from before GGUF"),
        (text[:1] in (b"{", b"["), "JSON"),
    )
    for matches, what in known:
        if matches:
            return f"what looks like {what}"
    return f"the bytes {start[:8].hex(' ')}" if start else "an empty file"


def _read_entry(head: Cursor) -> tuple[str, Any]:
    key = head.string("a metadata key")
    kind = head.u32(f"the type of {shown(key)}")
    return key, read_value(head, kind, key)


def _read_tensor(head: Cursor) -> tuple[str, tuple[int, ...], TensorType, int]:
    name = head.string("a tensor's name")
    at = head.at
    dims = head.u32("the number of dimensions")
    if not 1 <= dims <= _MAX_DIMS:
        raise head.corrupt(at, f"1 to {_MAX_DIMS} dimensions for tensor {shown(name)}", str(dims))
    shape = tuple(head.u64("a dimension") for _ in range(dims))[::-1]
    at = head.at
    code = head.u32("the tensor's type")
    kind = BY_CODE.get(code)
    if kind is None:
        raise UnsupportedModel(
            f"Tensor {shown(name)} in {head.name} has the unknown type number {code} (at byte {at}).",
            remedy=f"Supported types: {', '.join(SUPPORTED_FORMATS)}.",
        )
    return name, shape, kind, head.u64("the tensor's offset")


def _alignment(head: Cursor, metadata: Mapping[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or value < 8 or value & (value - 1):
        raise head.corrupt(head.at, "general.alignment to be a power of two and at least 8", shown(value))
    return value


def _place(
    head: Cursor,
    name: str,
    shape: tuple[int, ...],
    kind: TensorType,
    data_start: int,
    offset: int,
    alignment: int,
    at: int,
) -> Tensor:
    """The tensor's absolute bytes; CorruptModel (entry at byte `at`) where shape, type, offset and file disagree."""
    label = f"tensor {shown(name)}"
    if min(shape) < 1:
        raise head.corrupt(at, f"dimensions of at least 1 for {label}", str(list(shape)))
    if shape[-1] % kind.block:
        raise head.corrupt(
            at, f"rows of {label} to be a multiple of {kind.block} weights ({kind.name})", f"{shape[-1]} weights"
        )
    if offset % alignment:
        raise head.corrupt(at, f"the offset of {label} to be a multiple of {alignment}", str(offset))
    start = data_start + offset
    stop = start + math.prod(shape) // kind.block * kind.nbytes
    if stop > head.size:
        raise head.corrupt(
            at,
            f"{label} ({kind.name} {list(shape)}) at bytes {start} to {stop}",
            f"a file of {head.size} bytes: it was cut short, or its download did not finish",
        )
    return Tensor(name, shape, kind, start, stop)


def _check_overlaps(head: Cursor, tensors: Mapping[str, Tensor]) -> None:
    ordered = sorted(tensors.values(), key=lambda tensor: tensor.start)
    for before, after in pairwise(ordered):
        if after.start < before.stop:
            raise head.corrupt(
                after.start,
                f"tensor {shown(after.name)} to begin after {shown(before.name)}, which ends at byte {before.stop}",
                f"byte {after.start}",
            )
