"""Drafts by what followed before, in plain Python. Never shipped."""

from __future__ import annotations

from collections.abc import Sequence


def draft(ids: Sequence[int], count: int) -> list[int]:
    """What `count` ids may come after ids: [] unless its last two stand somewhere before."""
    newest = len(ids) - 1
    best, where = 1, 0
    for place in range(1, newest):
        common = 0
        while common < 4 and common <= place and ids[place - common] == ids[newest - common]:
            common += 1
        if common >= 2 and common >= best:
            best, where = common, place
    if not where:
        return []
    known = list(ids)
    for _ in range(count):
        known.append(known[where + 1 + len(known) - newest - 1])
    return known[newest + 1 :]
