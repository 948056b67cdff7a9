"""Finds stop strings in a text that comes in pieces. Knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text on until a stop string is complete; no part of a stop string is ever passed on.

    Of several the one that is complete first counts, the longest of those that end together: so the outcome does not
    depend on how the text was cut into pieces. stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise ValueError("a stop string must have at least one character")
        self.stops = tuple(dict.fromkeys(stops))
        self._held = ""
        self.found: str | None = None  # the stop string that ended the text

    def feed(self, delta: str) -> tuple[str, bool]:
        """(text that is safe to emit, whether a stop string was found). After a stop all text is dropped."""
        if self.found is not None:
            return "", True
        text = self._held + delta
        ends = [(at + len(stop), at, stop) for stop in self.stops if (at := text.find(stop)) >= 0]
        if ends:
            _, start, self.found = min(ends)
            self._held = ""
            return text[:start], True
        cut = len(text) - self._could_become(text)
        self._held = text[cut:]
        return text[:cut], False

    def flush(self) -> str:
        """The end: what was held back did not become a stop string."""
        held, self._held = self._held, ""
        return held

    def _could_become(self, text: str) -> int:
        """Length of the longest end of text that is the beginning of a stop string."""
        longest = min(max(map(len, self.stops), default=1) - 1, len(text))
        for n in range(longest, 0, -1):
            if any(len(stop) > n and stop.startswith(text[-n:]) for stop in self.stops):
                return n
        return 0
