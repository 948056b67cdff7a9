"""Reads the head of a safetensors file: which tensor lies where. Never reads a weight.

The file is untrusted: every offset is held against the others and the file's size. Knows no architecture and no host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from local_llm.errors import CorruptModel
from local_llm.formats.checkpoint import MOST_TENSORS, Tensor
from local_llm.formats.cursor import shown
from local_llm.formats.json_file import LIMIT, Entry, parse_object, wrong
from local_llm.formats.quant import BY_NAME, TensorType
from local_llm.gpu.ports import Blobs

_MAX_DIMS = 8
_SIZES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2},
    **{"I32": 4, "U32": 4, "I64": 8, "U64": 8, "F64": 8},
}
TYPES: dict[str, TensorType] = {
    **{name: TensorType(name, -1, 1, size, None, "row") for name, size in _SIZES.items()},
    **{name: BY_NAME[name] for name in ("F32", "F16", "BF16")},
}


async def read_safetensors(blobs: Blobs) -> dict[str, Tensor]:
    """The tensors of a file, by the file's own names. Raises CorruptModel or DownloadFailed."""
    if blobs.size < 8:
        raise CorruptModel(f"{blobs.name}: expected a safetensors file, found {blobs.size} bytes.")
    length = int.from_bytes(await blobs.read(0, 8), "little")
    most = min(LIMIT, blobs.size - 8)
    if not 2 <= length <= most:
        raise CorruptModel(
            f"{blobs.name}, byte 0: expected the length of a head, 2 to {most} bytes, found {length}.",
            remedy="Download the file again; it must be a safetensors file.",
        )
    head = parse_object(blobs.name, await blobs.read(8, 8 + length))
    head.pop("__metadata__", None)
    if len(head) > MOST_TENSORS:
        raise wrong(blobs.name, "the head", f"{MOST_TENSORS} tensors at the most", len(head))
    tensors = {name: _tensor(blobs, name, entry, 8 + length) for name, entry in head.items()}
    _check_overlaps(blobs.name, tensors)
    return tensors


def _tensor(blobs: Blobs, name: str, found: Any, data_start: int) -> Tensor:
    entry = Entry(blobs.name, f"tensor {shown(name)}", found)
    kind = TYPES.get(entry.text("dtype"))
    if kind is None:
        raise entry.wrong("dtype", f"one of {', '.join(TYPES)}")
    shape = entry.counts("shape", _MAX_DIMS)
    offsets = entry.counts("data_offsets", 2)
    nbytes = math.prod(shape) * kind.nbytes
    if len(offsets) != 2 or offsets[1] - offsets[0] != nbytes:
        raise entry.wrong("data_offsets", f"{nbytes} bytes for {kind.name} {list(shape)}")
    start, stop = (data_start + offset for offset in offsets)
    if stop > blobs.size:
        raise CorruptModel(
            f"{blobs.name}: expected {entry.place} at bytes {start} to {stop}, found a file of {blobs.size} bytes: "
            "it was cut short, or its download did not finish.",
            remedy="Download the file again.",
        )
    return Tensor(name, shape or (1,), kind, start, stop)


def _check_overlaps(name: str, tensors: Mapping[str, Tensor]) -> None:
    ordered = sorted((tensor for tensor in tensors.values() if tensor.nbytes), key=lambda tensor: tensor.start)
    for before, after in pairwise(ordered):
        if after.start < before.stop:
            place = f"tensor {shown(after.name)}"
            raise wrong(name, place, f"behind {shown(before.name)}, from byte {before.stop} on", after.start)
