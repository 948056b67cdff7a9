"""How many ids a step of drafts would have chosen, judged by the ids that came. Knows no device.

What the kernel `draft` finds in the history is found here in dictionaries, so that the GPU drafts only where it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from local_llm.ops.drafting import LEAST, MOST

REMEMBERED = 8192  # ids of a prompt that are looked through
SHARE = 1 / 12  # of the newest step in what is expected


class Foresight:
    """expected: ids that a step of 1 + drafts tokens would have chosen of late, from 1 to 1 + drafts.

    The ids given are looked through when the first one after them comes: the answer's first does not wait for that.
    """

    def __init__(self, ids: Sequence[int], drafts: int) -> None:
        self.expected = 1.0
        self._ids = list(ids[-REMEMBERED:])
        self._drafts = drafts
        self._guesses: list[int] | None = None
        self._right = 0  # of the guesses so far

    def saw(self, ids: Sequence[int]) -> None:
        """Further ids of the answer."""
        if self._guesses is None:
            self._guesses = self._draft()
        for token in ids:
            self._remember()
            self._ids.append(token)
            if self._right < len(self._guesses) and self._guesses[self._right] == token:
                self._right += 1
            else:
                self.expected += SHARE * (1 + self._right - self.expected)
                self._guesses, self._right = self._draft(), 0

    @cached_property
    def _places(self) -> dict[int, dict[tuple[int, ...], int]]:
        """By length: where these ids ended last."""
        places: dict[int, dict[tuple[int, ...], int]] = {}
        for n in range(LEAST, MOST + 1):
            runs = zip(*(self._ids[i:-1] for i in range(n)), strict=False)  # all but the one that ends with the newest
            places[n] = dict(zip(runs, range(n - 1, len(self._ids)), strict=False))
        return places

    def _remember(self) -> None:
        for n, places in self._places.items():
            if len(self._ids) >= n:
                places[tuple(self._ids[-n:])] = len(self._ids) - 1

    def _draft(self) -> list[int]:
        ids, newest = self._ids, len(self._ids) - 1
        for n in range(MOST, LEAST - 1, -1):
            place = self._places[n].get(tuple(ids[-n:])) if len(ids) > n else None
            if place is not None:
                return [ids[place + 1 + i % (newest - place)] for i in range(self._drafts)]
        return []
