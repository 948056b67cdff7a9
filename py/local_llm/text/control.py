"""Finds control tokens in texts, of which a vocabulary may have thousands. Knows only strings.

One regular expression of all of them takes a page half a second to compile, and a hostile file's much memory.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator


class ControlTokens:
    """A set of texts, none of them empty."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.ordered = sorted(set(tokens))
        firsts = "".join(re.escape(first) for first in sorted({token[0] for token in self.ordered}))
        self._maybe = re.compile(f"[{firsts}]" if firsts else "(?!)")
        self._longest = max(map(len, self.ordered), default=0)
        self._shorter = self._links()

    def _links(self) -> list[int]:
        """For each token the place of the longest one that it begins with, -1 for none."""
        links: list[int] = []
        for token in self.ordered:
            place = len(links) - 1
            while place >= 0 and not token.startswith(self.ordered[place]):
                place = links[place]
            links.append(place)
        return links

    def at(self, text: str, start: int) -> str | None:
        """The longest token that stands there.

        What a text begins with stands before it in order, and whatever lies between the two begins with it, too.
        """
        ahead = text[start : start + self._longest]
        place = bisect_right(self.ordered, ahead) - 1
        while place >= 0:
            token = self.ordered[place]
            if ahead.startswith(token):
                return token
            place = self._shorter[place]
        return None

    def places(self, text: str) -> Iterator[tuple[int, str]]:
        """(place, token) wherever one begins, be it inside another."""
        for found in self._maybe.finditer(text):
            token = self.at(text, found.start())
            if token is not None:
                yield found.start(), token

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """The same, one behind the other: what lies inside one that was found does not count."""
        end = 0
        for place, token in self.places(text):
            if place >= end:
                end = place + len(token)
                yield place, token
