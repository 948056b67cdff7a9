"""A vocabulary's texts as arrays: made sound, told apart by hashes, and put together into JSON, many at once.

Knows no kinds of tokens and no file. All work is cut into batches of some milliseconds in the page, which also bounds
the memory that it takes beside the texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from local_llm.errors import UnsupportedModel
from local_llm.formats.strings import Strings

LONGEST = 1 << 16  # bytes of one text
MOST_TEXT = 16 << 20  # bytes of all tokens, or of all merges
_BATCH_BYTES = 1 << 16
_BATCH = 1 << 13  # texts
_LOOKS = 6  # at hashes that begin alike
_MOST_BITS = 20  # that they are sorted by: a million lie alone, mostly, and a table of more bits outgrows them
_BASE = 0x9E3779B97F4A7C15  # any large odd number


def stretches(stops: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, last) of stretches of rows that are moderate in number and in bytes. stops: where each row ends."""
    first = 0
    while first < len(stops):
        begin = int(stops[first - 1]) if first else 0
        last = int(np.searchsorted(stops, begin + _BATCH_BYTES, "right"))
        last = max(first + 1, min(last, first + _BATCH))
        yield first, last
        first = last


def batches(texts: Strings) -> Iterator[tuple[int, int]]:
    """(first, last) of stretches of texts."""
    return stretches(texts.stops)


def packed(name: str, texts: Sequence[str]) -> Strings:
    """The same texts, one behind the other, in sound UTF-8: bytes that are none become U+FFFD.

    Raises UnsupportedModel, which mentions `name`, where they are more than MOST_TEXT.
    """
    if not isinstance(texts, Strings):
        return Strings.of(texts)
    if not texts.gap:
        return texts
    made: list[Strings] = []
    room = MOST_TEXT
    for first, last in batches(texts):
        made.append(_sound(texts.part(first, last)))
        room -= len(made[-1].data)
        if room < 0:
            raise UnsupportedModel(
                f"{name}: expected a vocabulary of at most {MOST_TEXT >> 20} MiB of text, found more.",
                remedy="Use another copy of the model: real vocabularies take a few MiB.",
            )
    lengths = [np.diff(part.stops, prepend=np.int32(0)) for part in made]
    none = np.empty(0, np.int32)
    stops = np.cumsum(np.concatenate([*lengths, none]), dtype=np.int32)
    return Strings(np.concatenate([*(part.data for part in made), none.astype(np.uint8)]), stops)


def _sound(part: Strings) -> Strings:
    data, stops = part.data, part.stops
    if part.gap:
        wanted = np.ones(len(data), bool)
        starts = part.starts()
        for back in range(1, part.gap + 1):
            wanted[starts - back] = False
        data, stops = data[wanted], np.cumsum(stops - starts, dtype=np.int32)
    begins = np.concatenate([np.zeros(1, np.int32), stops[:-1]])
    try:
        data.tobytes().decode("utf-8")
        halved = (data[begins[begins < stops]] & 0xC0 == 0x80).any()  # sound only together with the text before
    except UnicodeDecodeError:
        halved = True
    return Strings.of(part) if halved else Strings(data, stops)


class Hasher:
    """Texts' hashes: Σ (byte + 1) · BASE**place, modulo 2**64.

    Two texts of one hash are as good as impossible where nobody looks for them; a file whose author did has a
    vocabulary that is wrong, and nothing else.
    """

    def __init__(self) -> None:
        size = max(_BATCH_BYTES, LONGEST) + 1
        self.powers = _powers(_BASE, size)
        self._inverse = _powers(pow(_BASE, -1, 1 << 64), size)

    def sums(self, data: np.ndarray) -> np.ndarray:
        """For `between`: uint64 [bytes + 1], of a batch's bytes."""
        sums = np.zeros(len(data) + 1, np.uint64)
        np.cumsum((data.astype(np.uint64) + np.uint64(1)) * self.powers[: len(data)], out=sums[1:])
        return sums

    def between(self, sums: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """Hashes of the bytes from starts to stops."""
        return (sums[stops] - sums[starts]) * self._inverse[starts]

    def all(self, texts: Strings) -> np.ndarray:
        """uint64 [n]. texts: packed, none longer than LONGEST."""
        found = np.empty(len(texts), np.uint64)
        for first, last in batches(texts):
            part = texts.part(first, last)
            found[first:last] = self.between(self.sums(part.data), part.starts(), part.stops)
        return found

    def one(self, text: str) -> np.uint64:
        """Of a text of at most LONGEST bytes."""
        return self.all(Strings.of([text]))[0]


def _powers(base: int, count: int) -> np.ndarray:
    """1, base, base**2, … modulo 2**64."""
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


class Known:
    """A set of hashes: those that begin with the same bits lie side by side, and there are few of them."""

    def __init__(self, hashes: np.ndarray) -> None:
        bits = max(4, min(len(hashes).bit_length() + 2, _MOST_BITS))
        self._drop = np.uint64(64 - bits)
        self._ordered = np.sort(hashes)
        self._begins = np.zeros((1 << bits) + 1, np.int32)
        np.cumsum(np.bincount(self._place(hashes), minlength=1 << bits), out=self._begins[1:])

    def has(self, values: np.ndarray) -> np.ndarray:
        """bool [n]: which values are among them."""
        found = np.zeros(len(values), bool)
        place = self._place(values)
        at, end = self._begins[place], self._begins[place + 1]
        for _ in range(_LOOKS):
            left = np.flatnonzero((at < end) & ~found)
            if not len(left):
                return found
            found[left] = self._ordered[at[left]] == values[left]
            at[left] += 1
        left = np.flatnonzero((at < end) & ~found)  # as good as none, but where somebody chose the texts for it
        places = np.minimum(np.searchsorted(self._ordered, values[left]), len(self._ordered) - 1)
        found[left] = self._ordered[places] == values[left]
        return found

    def _place(self, values: np.ndarray) -> np.ndarray:
        return (values >> self._drop).astype(np.intp)


def twice(hashes: np.ndarray) -> Known:
    """Those that are there more than once."""
    ordered = np.sort(hashes)
    return Known(ordered[1:][ordered[1:] == ordered[:-1]])


def first_of_equal(hashes: np.ndarray, ids: np.ndarray, doubtful: Known) -> np.ndarray:
    """ids, but of those whose texts are equal only the one that comes first. doubtful: of hashes, see `twice`."""
    places = np.flatnonzero(doubtful.has(hashes[ids]))
    first = np.unique(hashes[ids[places]], return_index=True)[1]
    return np.delete(ids, np.delete(places, first))


@dataclass(frozen=True)
class Span:
    """A column of texts: `lengths` bytes of data from `starts` on, a row each."""

    data: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @staticmethod
    def of(texts: Strings, ids: np.ndarray) -> Span:
        """Some of texts, whole."""
        starts = np.where(ids > 0, texts.stops[ids - 1], 0) + texts.gap
        return Span(texts.data, starts, texts.stops[ids] - starts)

    @staticmethod
    def of_numbers(numbers: np.ndarray) -> Span:
        """Whole numbers from 0 on, in digits."""
        lengths = np.searchsorted(_TENS, numbers, "right") + 1
        digits = "".join(map(str, numbers.tolist())).encode()
        return Span(np.frombuffer(digits, np.uint8), np.cumsum(lengths) - lengths, lengths)


def picked(texts: Strings, places: np.ndarray) -> Strings:
    """The texts at these places, packed; empty for -1."""
    span = Span.of(texts, np.maximum(places, 0))
    lengths = np.where(places < 0, 0, span.lengths)
    stops = np.cumsum(lengths, dtype=np.int32)
    if len(stops) and np.array_equal(span.starts, stops - lengths):
        return Strings(texts.data[: stops[-1]], stops)  # they lie so already
    data = np.empty(int(lengths.sum()), np.uint8)
    for first, last in stretches(stops):
        some = slice(first, last)
        at = np.arange(int(lengths[some].sum())) + (stops[first] - lengths[first])
        data[at] = texts.data[np.repeat(span.starts[some] - (stops - lengths)[some], lengths[some]) + at]
    return Strings(data, stops)


_TENS = 10 ** np.arange(1, 10)


def rows(count: int, *columns: bytes | Span) -> bytes:
    """`count` rows of the columns, one behind the other; what is in a Span is escaped as JSON's texts are."""
    lengths = [len(column) if isinstance(column, bytes) else column.lengths for column in columns]
    total = np.zeros(count, np.intp) + sum(lengths)
    at = np.cumsum(total) - total
    made = np.empty(int(total.sum()), np.uint8)
    strange = []
    for column in columns:
        if isinstance(column, bytes):
            for offset, byte in enumerate(column):
                made[at + offset] = byte
            at = at + len(column)
            continue
        within = np.arange(int(column.lengths.sum())) - np.repeat(
            np.cumsum(column.lengths) - column.lengths, column.lengths
        )
        taken = column.data[np.repeat(column.starts, column.lengths) + within]
        places = np.repeat(at, column.lengths) + within
        made[places] = taken
        strange.append(places[_ESCAPED[taken]])
        at = at + column.lengths
    return _escaped(made, np.sort(np.concatenate(strange))) if any(map(len, strange)) else made.tobytes()


def _escapes() -> dict[int, bytes]:
    return {code: json.dumps(chr(code))[1:-1].encode() for code in (*range(0x20), ord('"'), ord("\\"))}


_ESCAPES = _escapes()
_ESCAPED = np.isin(np.arange(256), list(_ESCAPES))


def _escaped(data: np.ndarray, where: np.ndarray) -> bytes:
    """data with the bytes at those places written as JSON writes them."""
    parts, before = [], 0
    whole = data.tobytes()
    for place, code in zip(where.tolist(), data[where].tolist(), strict=True):
        parts += (whole[before:place], _ESCAPES[code])
        before = place + 1
    return b"".join([*parts, whole[before:]])
