"""Values of GGUF metadata: numbers, texts, arrays. Knows no keys and no meaning."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from local_llm.formats.cursor import Cursor, shown

_NUMBERS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SMALLEST = {_STRING: 8, _ARRAY: 12}  # an empty text's length; an empty array's type and count
_MAX_DEPTH = 4
_LENGTH = struct.Struct("<Q")


class Strings(Sequence[str]):
    """An array of texts, kept as the file's bytes and decoded one by one: a vocabulary costs little until it is read.

    Bytes that are not UTF-8 read as U+FFFD.
    """

    def __init__(self, raw: bytes, stops: array[int]) -> None:
        self._raw = raw  # for each text 8 bytes of length, then the text
        self._stops = stops

    def __len__(self) -> int:
        return len(self._stops)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self._stops[index - 1] if index else 0
        return self._raw[start + 8 : self._stops[index]].decode("utf-8", "replace")


def read_value(head: Cursor, kind: int, key: str, depth: int = 0) -> Any:
    """The value at head: int, float, bool, str, numpy array, Strings, or a tuple of arrays."""
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
        return bytes(head.take(head.u64(f"the length of {shown(key)}"), shown(key))).decode("utf-8", "replace")
    if kind == _ARRAY:
        return _read_array(head, key, depth)
    raise head.corrupt(head.at - 4, f"a value type from 0 to 12 for {shown(key)}", str(kind))


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
        return _read_strings(head, count, key)
    if kind == _ARRAY:
        return tuple(_read_array(head, key, depth + 1) for _ in range(count))
    raise head.corrupt(at, f"an element type from 0 to 12 for {shown(key)}", str(kind))


def _read_strings(head: Cursor, count: int, key: str) -> Strings:
    """Walks over the lengths only; this loop runs once for every token and merge of a vocabulary."""
    data, limit = head.data, len(head.data)
    unpack = _LENGTH.unpack_from
    stops = array("Q")
    start = before = at = head.at
    try:
        for _ in range(count):
            before = at
            at += 8 + unpack(data, at)[0]
            if at > limit:
                break
            stops.append(at - start)
    except struct.error:
        at += 8
    if at > limit:
        head.at = before
        head.need(at - before, f"a text of {shown(key)}")  # raises: CorruptModel, or Short
    head.at = at
    return Strings(bytes(data[start:at]), stops)
