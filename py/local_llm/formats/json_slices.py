"""Where the parts of a large JSON text are, told from its bytes alone: nothing is parsed, nothing large is made.

Quotes, brackets and commas are looked at in windows, so that a vocabulary can be read slice by slice. Where the text
is no JSON the places make no sense, and parsing a slice fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

import numpy as np

_WINDOW = 1 << 16  # bytes; parsing so many takes a page some milliseconds
LARGEST = 2 << 20  # bytes of one element
_SMALL = 1 << 8  # where one value is looked for, and twice as much until it is found
_MEMBERS = 4096  # of one object
_MARKS = 1 << 19  # brackets or commas in a window, which real files have a tenth of
_KEY = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*', re.DOTALL)
_NEXT = re.compile(rb"\s*([,}])")
_EMPTY = re.compile(rb"\s*}")


def members(raw: bytes, start: int) -> Generator[tuple[str, int], int, int]:
    """(key, place of its value) of the object that begins at `start`; send() where the value ends.

    Returns where the object ends. Raises ValueError where there is none.
    """
    at = _opened(raw, start, b"{")
    empty = _EMPTY.match(raw, at)
    if empty is not None:
        return empty.end()
    for _ in range(_MEMBERS):
        key = _KEY.match(raw, at)
        if key is None:
            raise ValueError(f"a key is missing at byte {at}")
        stop = yield json.loads(key[1]), key.end()
        mark = _NEXT.match(raw, stop)
        if mark is None:
            raise ValueError(f"a comma is missing at byte {stop}")
        at = mark.end()
        if mark[1] == b"}":
            return at
    raise ValueError(f"more than {_MEMBERS} members in one object")


def end_of(raw: bytes, start: int) -> int:
    """Where the value ends that begins at `start`, inside an object or a list."""
    return _cut(raw, start, first=True)[0]


def slices(raw: bytes, start: int) -> Generator[bytes, None, tuple[list[tuple[int, int]], int]]:
    """Stretches of whole elements, without the commas between them, of the list or object that begins at `start`.

    Gives b"" now and then, so that others can have a turn. Returns them, and where it ends. Raises ValueError.
    """
    at = _opened(raw, start, b"[{")
    found: list[tuple[int, int]] = []
    while True:
        stop, ended = _cut(raw, at)
        if raw[at:stop].strip():
            found.append((at, stop))
        elif found or not ended:
            raise ValueError(f"an element is missing at byte {at}")
        at = stop + 1
        if ended:
            return found, at
        yield b""


def _opened(raw: bytes, start: int, brackets: bytes) -> int:
    if not raw[start : start + 1] or raw[start : start + 1] not in brackets:
        raise ValueError(f"{brackets.decode()} is missing at byte {start}")
    return start + 1


def _cut(raw: bytes, at: int, *, first: bool = False) -> tuple[int, bool]:
    """(place, whether a bracket closes there): a window's last comma between elements, or the first, or the end."""
    size = _SMALL if first else _WINDOW
    while True:
        window = np.frombuffer(raw, np.uint8, min(size, len(raw) - at), at)
        outside = _outside(window)
        marks = np.flatnonzero(outside & _STEPS[window].astype(bool))
        commas = np.flatnonzero(outside & (window == ord(",")))
        if len(marks) > _MARKS or len(commas) > _MARKS:
            raise ValueError(f"more than {_MARKS} brackets or commas in one value at byte {at}")
        depth = np.concatenate([np.zeros(1, np.int32), np.cumsum(_STEPS[window[marks]], dtype=np.int32)])
        closing = np.flatnonzero(depth < 0)
        end = int(marks[closing[0] - 1]) if len(closing) else len(window)
        between = commas[(depth[np.searchsorted(marks, commas)] == 0) & (commas < end)]
        if len(between) and first:
            return at + int(between[0]), False
        if len(closing):
            return at + end, True
        if len(between):
            return at + int(between[-1]), False
        if size >= LARGEST or at + size >= len(raw):
            raise ValueError(f"a value at byte {at} does not end, or is larger than {LARGEST} bytes")
        size *= 2


def _outside(window: np.ndarray) -> np.ndarray:
    """bool [n], what is in no text. The window begins outside."""
    quotes = window == ord('"')
    slashes = np.flatnonzero(window == ord("\\"))
    if len(slashes):
        begins = np.concatenate([[True], np.diff(slashes) > 1])  # of a run: every second one is itself escaped
        within = slashes - slashes[begins][np.cumsum(begins) - 1]
        escaped = slashes[within % 2 == 0] + 1
        quotes[escaped[escaped < len(window)]] = False
    return np.cumsum(quotes, dtype=np.uint8) % 2 == 0


def _steps() -> np.ndarray:
    steps = np.zeros(256, np.int8)
    steps[[ord("["), ord("{")]] = 1
    steps[[ord("]"), ord("}")]] = -1
    return steps


_STEPS = _steps()
