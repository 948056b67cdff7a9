"""What one rendering of an untrusted template may use: turns, seconds, and characters that it makes. Knows no jinja2.

Seconds are the processor's where Python tells them: a machine that pauses or is shared makes no template a bad one.

Texts and containers are held against their sizes before and after they are made. A container weighs what its text
would be, so that one which holds another many times, which holds another many times, is refused while it is small.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

STEPS = 200_000  # turns of loops and calls of macros
SECONDS = 3.0
_seconds = getattr(time, "thread_time", time.monotonic)  # Pyodide has no thread_time
_WIDTH = 1 << 16  # of a number handed to a function, which may be a width to pad to
_BITS = 256  # of a number
_IN_ALL = 256  # texts of the largest size may be made
_HEAVIER = 4  # a container may be than a text
_ITEM = 8  # bytes


class Excess(Exception):
    """A template wants more than it may have; the message says of what."""


class Allowance:
    """`begin` before each use. All methods raise Excess."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, most: int) -> None:
        """most: characters of one text."""
        self.most = most
        self._steps, self._room = STEPS, _IN_ALL * most
        self._end = _seconds() + SECONDS
        self._weights: dict[int, tuple[int, Any]] = {}  # by id, with what must not give that id away

    def step(self, characters: int = 0) -> None:
        """One turn of a loop or call of a macro, which writes so many characters of the template itself."""
        self._steps -= 1
        if self._steps < 0:
            raise Excess(f"it takes more than {STEPS} steps")
        self._pay(characters)

    def made(self, value: Any) -> Any:
        """value, which an operation has just made."""
        if isinstance(value, str):
            self.room_for(len(value))
            self._pay(len(value))
        elif isinstance(value, int):
            if value.bit_length() > _BITS:
                raise Excess("it computes a huge number")
        elif isinstance(value, list | tuple | dict):
            self.weight(value)
            self._pay(_ITEM * len(value))
        else:
            self._pay(1)
        return value

    def added(self, left: Any, right: Any) -> Any:
        """left + right. That of two lists weighs what both weigh: nobody has to look at each item again."""
        total = left + right
        if isinstance(total, list | tuple):
            weight = self.weight(left, right)
            self._weights[id(total)] = (weight, total)
        return self.made(total)

    def printed(self, value: Any) -> Any:
        """value, which becomes text now."""
        self._pay(self.weight(value))
        return value

    def room_for(self, length: int) -> None:
        """Whether a text of this length may be made."""
        if length > self.most:
            raise Excess(f"it builds more than {self.most} characters")

    def room_for_many(self, count: int, length: int) -> None:
        """Whether `count` texts of this length may be made one after the other in one operation."""
        if count * length > 16 * self.most:
            raise Excess(f"it builds more than {self.most} characters")

    def weight(self, *values: Any) -> int:
        """How many characters the texts of values have, about."""
        total = 0
        for value in values:
            total += self._weight(value)
            self._light(total)
        return total

    def widths(self, values: Iterable[Any]) -> None:
        """Whether numbers may be handed to a function."""
        if any(isinstance(value, int) and abs(value) > _WIDTH for value in values):
            raise Excess(f"it passes a number beyond {_WIDTH} to a function")

    def power(self, exponent: Any) -> None:
        """Whether a number may be raised to this power."""
        if abs(exponent) > _BITS:
            raise Excess("it computes a huge power")

    def _weight(self, value: Any) -> int:
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, list | tuple | dict):
            return 1
        known = self._weights.get(id(value))
        if known is not None:
            return known[0]
        total = 1
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            total += 1 + self._weight(item)
            self._light(total)
        self._weights[id(value)] = (total, value)
        return total

    def _light(self, weight: int) -> None:
        if weight > _HEAVIER * self.most:
            raise Excess(f"it builds more than {_HEAVIER * self.most} characters")

    def _pay(self, characters: int) -> None:
        self._room -= characters + 1
        if self._room < 0:
            raise Excess(f"it builds more than {_IN_ALL * self.most} characters in all")
        if _seconds() > self._end:
            raise Excess(f"it takes more than {SECONDS:g} seconds")
