"""JSON of untrusted files, and typed access to what is in it: every surprise is a CorruptModel that names the place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local_llm.errors import CorruptModel
from local_llm.formats.cursor import shown
from local_llm.gpu.ports import Blobs

LIMIT = 64 << 20  # bytes; real ones stay under 40 MB
_ROOM = 64 << 20  # bytes that Python's objects may take beside those of the file
# What each such character may bring along at the most: the objects themselves, lists and tables that grow, `Entry`.
_COSTS = {b"{": 700, b"[": 100, b",": 48, b":": 160, b'"': 32}


def wrong(name: str, place: str, expected: str, found: object) -> CorruptModel:
    """The error to raise: `expected` was wanted at `place` of the file `name`, `found` was there."""
    what = "nothing" if found is None else shown(found)
    return CorruptModel(
        f"{name}: expected {place} to be {expected}, found {what}.",
        remedy="Download the file again, or use another copy.",
    )


def parse_object(name: str, raw: bytes) -> dict[str, Any]:
    """The JSON object in raw; no key may be there twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is there twice")
        return found

    check_size(name, raw)
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CorruptModel(
            f"{name}: expected JSON, found what cannot be read ({error!s:.100}).", remedy="Download the file again."
        ) from None
    if not isinstance(value, dict):
        raise wrong(name, "the whole", "an object", value)
    return value


def check_size(name: str, raw: bytes) -> None:
    """Raises CorruptModel where the values in raw could take much more memory than raw does.

    Told from the characters that make values, before any is made: `[]` is two bytes, and as a list 56.
    """
    width = 1 if raw.isascii() else 4  # bytes a character, where one of them is far up
    wanted = 2 * width * len(raw) + sum(cost * raw.count(mark) for mark, cost in _COSTS.items())
    if wanted > len(raw) + _ROOM:
        raise CorruptModel(
            f"{name}: expected JSON whose values take at most {_ROOM >> 20} MiB beside its own {len(raw)} bytes, "
            f"found {sum(map(raw.count, _COSTS))} brackets, commas, colons and quotes, which may take {wanted >> 20}.",
            remedy="Use another copy of the model: real files have far fewer values.",
        )


async def read_object(blobs: Blobs) -> dict[str, Any]:
    """The JSON object that a file is. Raises CorruptModel, DownloadFailed."""
    if blobs.size > LIMIT:
        raise CorruptModel(f"{blobs.name}: expected JSON of at most {LIMIT} bytes, found {blobs.size} bytes.")
    return parse_object(blobs.name, await blobs.read(0, blobs.size))


class Entry:
    """An object of a JSON file. `place` says where it is, for messages."""

    def __init__(self, name: str, place: str, values: Any) -> None:
        if not isinstance(values, Mapping):
            raise wrong(name, place, "an object", values)
        self.name = name
        self.place = place
        self.values = values

    def wrong(self, key: str, expected: str) -> CorruptModel:
        return wrong(self.name, f"{key} of {self.place}", expected, self.values.get(key))

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text")
        return value

    def file(self, key: str) -> str:
        """The name of a file in the same folder."""
        value = self.text(key)
        if value in (".", "..") or set(value) & set("/\\:?#\0"):
            raise self.wrong(key, "the name of a file in the same folder")
        return value

    def count(self, key: str, most: int = 1 << 53) -> int:
        """A whole number in [0, most]."""
        value = self.values.get(key)
        if type(value) is not int or not 0 <= value <= most:
            raise self.wrong(key, f"a whole number from 0 to {most}")
        return value

    def counts(self, key: str, longest: int, most: int = 1 << 53) -> tuple[int, ...]:
        """At most `longest` whole numbers in [0, most]."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) > longest:
            raise self.wrong(key, f"a list of at most {longest} numbers")
        if any(type(number) is not int or not 0 <= number <= most for number in value):
            raise self.wrong(key, f"whole numbers from 0 to {most}")
        return tuple(value)

    def entries(self, key: str) -> list[Entry]:
        """A list of objects."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return [Entry(self.name, f"{key}[{i}] of {self.place}", item) for i, item in enumerate(value)]
