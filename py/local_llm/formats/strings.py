"""Many texts as two arrays: their bytes in a row, and where each ends. Knows no file and no meaning.

As Python objects a vocabulary takes ten times the memory of its text, and a page's Python some seconds to make them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

HEADER = 8  # bytes of length before each text, as GGUF has it
_LENGTH = struct.Struct("<Q")
_WINDOW = 1 << 18  # bytes that are looked at at once
_STEPS = 4096  # texts that are walked over one by one where a window tells of fewer than _FEW
_FEW = 64


class Strings(Sequence[str]):
    """Texts, decoded when they are asked for; bytes that are not UTF-8 read as U+FFFD.

    data: uint8, the texts in a row, each behind `gap` bytes of something else. stops: int32 [n], each text's end.
    """

    def __init__(self, data: np.ndarray, stops: np.ndarray, gap: int = 0) -> None:
        self.data = data
        self.stops = stops
        self.gap = gap

    @staticmethod
    def of(texts: Iterable[str]) -> Strings:
        """Halves of characters, which JSON can spell, become "?"."""
        parts = [text.encode("utf-8", "replace") for text in texts]
        stops = np.cumsum(np.fromiter(map(len, parts), np.int32, len(parts)), dtype=np.int32)
        return Strings(np.frombuffer(b"".join(parts), np.uint8), stops)

    def __len__(self) -> int:
        return len(self.stops)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            return self.part(first, last)._all() if step == 1 else [self[i] for i in range(first, last, step)]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = int(self.stops[index - 1]) if index else 0
        return self.data[start + self.gap : int(self.stops[index])].tobytes().decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _STEPS):
            yield from self[first : first + _STEPS]

    def _all(self) -> list[str]:
        raw, begins, ends = self.data.tobytes(), self.starts().tolist(), self.stops.tolist()
        return [raw[begin:end].decode("utf-8", "replace") for begin, end in zip(begins, ends, strict=True)]

    def starts(self) -> np.ndarray:
        """int32 [n], where each text begins."""
        starts = np.empty_like(self.stops)
        starts[1:] = self.stops[:-1]
        starts[:1] = 0
        starts += self.gap
        return starts

    def part(self, first: int, last: int) -> Strings:
        """The texts [first, last), without a copy of their bytes."""
        last = max(first, last)
        base = int(self.stops[first - 1]) if first else 0
        stops = self.stops[first:last] - base
        return Strings(self.data[base : base + (int(stops[-1]) if len(stops) else 0)], stops, self.gap)


def walk(data: bytes | bytearray, start: int, limit: int, count: int) -> np.ndarray:
    """int32 [up to count]: the ends, counted from `start`, of texts that each follow 8 bytes of length in data.

    Fewer than count where the next one would end past `limit`, which is data's end or before it.

    Each end tells where the next length is, so this is a walk. But a length of a real text is one byte and seven
    zeros, which the text has not: such places are found all at once, and count where each leads to the next.
    """
    stops = np.empty(count, np.int32)
    at, done = start, 0
    while done < count:
        window = np.frombuffer(bytes(data[at : min(at + _WINDOW, limit)]), np.uint8)
        ends = _chained(window)[: count - done]
        if len(ends) and at + int(ends[-1]) > limit:
            ends = ends[:-1]
        stops[done : done + len(ends)] = ends + (at - start)
        at, done = at + (int(ends[-1]) if len(ends) else 0), done + len(ends)
        if len(ends) >= _FEW:
            continue
        for _ in range(min(_STEPS, count - done)):
            if at + HEADER > limit or (stop := at + HEADER + _LENGTH.unpack_from(data, at)[0]) > limit:
                return stops[:done]
            at = stop
            stops[done] = at - start
            done += 1
    return stops


def _chained(window: np.ndarray) -> np.ndarray:
    """Ends of the first texts in a window that begins with a length, as far as they are plain to see."""
    if len(window) < HEADER:
        return np.empty(0, np.intp)
    lengths = window[: len(window) // HEADER * HEADER].view("<u8")
    empty = int((lengths != 0).argmax()) if lengths.any() else len(lengths)
    if empty >= _FEW:  # empty texts are nothing but zeros
        return np.arange(1, empty + 1) * HEADER
    zero = window == 0
    plain = zero[1:-6].copy()
    for shift in range(2, HEADER):
        plain &= zero[shift : len(zero) - 7 + shift]
    places = np.flatnonzero(plain)
    if not len(places) or places[0]:
        return np.empty(0, np.intp)
    places = places[np.concatenate([[True], np.diff(places) >= HEADER])]  # not in the midst of another
    ends = places + HEADER + window[places]
    wrong = np.flatnonzero(ends[:-1] != places[1:])
    return ends[: wrong[0] + 1] if len(wrong) else ends
