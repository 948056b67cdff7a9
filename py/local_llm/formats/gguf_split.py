"""GGUF files that were split into `name-00001-of-0000N.gguf`: which parts there are, and their heads as one.

Knows how parts are numbered; what is in a head is gguf.py's.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Tensor
from local_llm.formats.cursor import shown
from local_llm.formats.files import JoinedBlobs, base_name
from local_llm.formats.gguf import GGUF, read_gguf
from local_llm.gpu.ports import Blobs

_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)")
_MOST_PARTS = 1000


def part_names(file: str) -> list[str]:
    """The names of all parts, where `file` is named like one of several; else just `file`."""
    match = _PART.search(file)
    count = int(match[2]) if match else 1
    if not match or not 1 < count <= _MOST_PARTS:
        return [file]
    return [f"{file[: match.start()]}-{number:05}-of-{match[2]}{file[match.end() :]}" for number in range(1, count + 1)]


async def is_gguf(file: Blobs) -> bool:
    """Whether a file begins as a GGUF does."""
    return await file.read(0, min(4, file.size)) == b"GGUF"


async def read_parts(files: Sequence[Blobs]) -> tuple[GGUF, Blobs]:
    """The one GGUF of `files`, in any order, and the blobs that its tensors' bytes are addresses of.

    Raises CorruptModel, which names the part, where one is missing, twice there, or does not belong to the others.
    """
    heads = [(await read_gguf(file), file) for file in files]
    first = heads[0][0]
    count = _number(first, "split.count", 1)
    if len(heads) == 1 and count == 1:
        return heads[0]
    parts: dict[int, tuple[GGUF, Blobs]] = {}
    for head, file in heads:
        number = _number(head, "split.no", 0)
        if _number(head, "split.count", 1) != count or number >= count:
            raise CorruptModel(
                f"{head.name} is part {number + 1} of {_number(head, 'split.count', 1)} and does not belong to "
                f"{first.name}, which has {count} parts.",
                remedy="Give the parts of one model only.",
            )
        if number in parts:
            raise CorruptModel(
                f"{head.name} and {parts[number][0].name} are both part {number + 1} of {count}.",
                remedy="Give each part once.",
            )
        parts[number] = (head, file)
    _check_missing(first.name, count, parts.keys())
    return _merged([parts[number] for number in range(count)])


def _number(head: GGUF, key: str, default: int) -> int:
    value = head.metadata.get(key, default)
    if type(value) is not int or not 0 <= value <= _MOST_PARTS:
        raise CorruptModel(f"{head.name}: expected {key} from 0 to {_MOST_PARTS}, found {shown(value)}.")
    return value


def _check_missing(name: str, count: int, found: Container[int]) -> None:
    missing = [number for number in range(count) if number not in found]
    if missing:
        names = part_names(base_name(name))
        what = names[missing[0]] if len(names) == count else f"part {missing[0] + 1} of {count}"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CorruptModel(
            f"{base_name(name)} is one of {count} parts of a model; {what} is missing{more}.",
            remedy="Give the address of a part beside which the others lie, or all parts.",
        )


def _merged(parts: Sequence[tuple[GGUF, Blobs]]) -> tuple[GGUF, Blobs]:
    first = parts[0][0]
    if "general.architecture" not in first.metadata:
        raise UnsupportedModel(f"{first.name} is the first part but holds no metadata.")
    blobs = JoinedBlobs(first.name, [file for _, file in parts])
    tensors: dict[str, Tensor] = {}
    for (head, _), base in zip(parts, blobs.starts, strict=True):
        for name, tensor in head.tensors.items():
            if name in tensors:
                raise CorruptModel(f"{head.name}: tensor {shown(name)} is in an earlier part too.")
            tensors[name] = replace(tensor, start=tensor.start + base, stop=tensor.stop + base)
    total = first.metadata.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise CorruptModel(
            f"{first.name}: expected {shown(total)} tensors in all {len(parts)} parts, found {len(tensors)}.",
            remedy="Download the parts again.",
        )
    return replace(first, name=_PART.sub("", first.name), tensors=tensors, size=blobs.size), blobs
