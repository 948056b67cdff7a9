"""Values of GGUF metadata: numbers, texts, arrays. Knows no keys and no meaning."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from local_llm.formats.cursor import Cursor, shown
from local_llm.formats.strings import HEADER, Strings, walk

_NUMBERS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SMALLEST = {_STRING: 8, _ARRAY: 12}  # an empty text's length; an empty array's type and count
_MAX_DEPTH = 4
_MOST_TEXTS = 1 << 21  # of one array; the largest vocabularies have a quarter of that in merges
_HEADER = struct.Struct("<Q")


class Arrays(tuple[Any, ...]):
    """Arrays within an array. Messages tell how many: numpy takes milliseconds to write each one."""

    def __repr__(self) -> str:
        return f"an array of {len(self)} arrays"


def read_value(head: Cursor, kind: int, key: str, depth: int = 0) -> Any:
    """The value at head: int, float, bool, str, numpy array, Strings, or Arrays."""
    if kind in _NUMBERS:
        layout = _NUMBERS[kind]
        return struct.unpack(layout, head.take(struct.calcsize(layout), shown(key)))[0]
    if kind == _BOOL:
        at = head.at
        value = head.take(1, shown(key))[0]
        if value > 1:
            raise head.corrupt(at, f"0 or 1 for {shown(key)}", str(value))
        return value == 1
    if kind == _STRING:
        return head.text(shown(key)).decode("utf-8", "replace")
    if kind == _ARRAY:
        return _read_array(head, key, depth)
    raise head.corrupt(head.at - 4, f"a value type from 0 to 12 for {shown(key)}", str(kind))


def numbers_in(value: Any) -> np.ndarray | None:
    """value as an array of one dimension: it is one already, or a list of nothing but numbers; else None.

    Of anything else numpy would make an array in which each element has the size of the largest one.
    """
    if isinstance(value, list | tuple) and set(map(type, value)) <= {bool, int, float}:
        return np.asarray(value)
    return value if isinstance(value, np.ndarray) and value.ndim == 1 else None


def _read_array(head: Cursor, key: str, depth: int) -> Any:
    if depth >= _MAX_DEPTH:
        raise head.corrupt(head.at, f"arrays nested at most {_MAX_DEPTH} deep in {shown(key)}", "one more")
    at = head.at
    kind = head.u32(f"the element type of {shown(key)}")
    layout = np.dtype(_NUMBERS.get(kind, "B"))
    count = head.count(f"elements of {shown(key)}", _SMALLEST.get(kind, layout.itemsize))
    if kind in _NUMBERS:
        return np.frombuffer(head.take(count * layout.itemsize, shown(key)), layout)
    if kind == _BOOL:
        return np.frombuffer(head.take(count, shown(key)), np.uint8) != 0
    if kind == _STRING:
        if count > _MOST_TEXTS:
            raise head.corrupt(at + 4, f"at most {_MOST_TEXTS} texts in {shown(key)}", str(count))
        return _read_strings(head, count, key)
    if kind == _ARRAY:
        head.inner(count, key)
        return Arrays(_read_array(head, key, depth + 1) for _ in range(count))
    raise head.corrupt(at, f"an element type from 0 to 12 for {shown(key)}", str(kind))


def _read_strings(head: Cursor, count: int, key: str) -> Strings:
    start, limit = head.at, len(head.data)
    stops = walk(head.data, start, limit, count)
    stop = start + (int(stops[-1]) if len(stops) else 0)
    if len(stops) < count:
        head.at = stop
        head.need(_HEADER.size, f"a text of {shown(key)}")  # raises CorruptModel, or Short
        head.need(_HEADER.size + _HEADER.unpack_from(head.data, stop)[0], f"a text of {shown(key)}")
    head.at = stop
    return Strings(np.frombuffer(bytes(head.data[start:stop]), np.uint8), stops, HEADER)
