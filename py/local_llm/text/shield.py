"""Keeps control tokens that people type apart from those that a chat template writes. Knows only strings.

Before rendering, a private-use character goes into every place where a message's text could form a control token, be
it together with the template's text around it. After rendering true control tokens are found, then the mark leaves.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

from local_llm.text.control import ControlTokens

_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))


def choose_mark(*texts: str) -> str:
    """A private-use character that occurs in none of texts, nor does its escape in JSON."""
    used = set().union(*texts)
    marks = (chr(code) for codes in _PRIVATE_USE for code in codes if chr(code) not in used)
    return next(mark for mark in marks if not any(escape_of(mark) in text for text in texts))


def escape_of(mark: str) -> str:
    """What JSON in plain ASCII makes of a mark."""
    return json.dumps(mark)[1:-1]


class Shield:
    """Marks texts against one set of control tokens."""

    def __init__(self, control: ControlTokens) -> None:
        self._control = control
        self._ordered = control.ordered
        self._turned = sorted(token[::-1] for token in self._ordered)
        self._joined = "\0".join(self._ordered)
        self._longest = max(map(len, self._ordered), default=0)

    def guard(self, value: Any, mark: str) -> Any:
        """value with every text in it marked; dicts, lists and tuples are rebuilt, all else is kept."""
        if isinstance(value, str):
            return self.guard_text(value, mark)
        if isinstance(value, Mapping):
            return {self._guard_key(key, mark): self.guard(item, mark) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.guard(item, mark) for item in value]
        return value

    def _guard_key(self, key: Any, mark: str) -> Any:
        """Keys that templates ask for by name stay as they are; others may be a person's words."""
        return self.guard_text(key, mark) if isinstance(key, str) and not key.isidentifier() else key

    def guard_text(self, text: str, mark: str) -> str:
        """text, marked behind the first character of what is, or at its ends could become, a control token.

        Templates often trim, so the ends are those of the text without surrounding white space.
        """
        core = text.strip()
        if not core:
            return text
        before, _, after = text.partition(core)
        marked = self._mark_whole(self._mark_end(core, mark), mark)
        return before + (mark if self._may_go_on(core) else "") + marked + after

    def _mark_whole(self, core: str, mark: str) -> str:
        """Marks each control token."""
        parts, before = [], 0
        for place, _ in self._control.places(core):
            parts.append(core[before : place + 1] + mark)
            before = place + 1
        return "".join(parts) + core[before:]

    def _mark_end(self, core: str, mark: str) -> str:
        """Marks each tail that is a control token's beginning."""
        first = max(0, len(core) - self._longest)
        cuts = [at + 1 for at in range(first, len(core)) if self._begins(core[at:])]
        for cut in reversed(cuts):
            core = core[:cut] + mark + core[cut:]
        return core

    def _may_go_on(self, core: str) -> bool:
        """Whether core's start may complete a control token that the text before it has begun."""
        heads = (core[:n] for n in range(1, min(self._longest, len(core) + 1)))
        return core in self._joined or any(map(self._ends, heads))

    def _begins(self, text: str) -> bool:
        """Whether a control token begins with text and goes on."""
        at = bisect_right(self._ordered, text)
        return at < len(self._ordered) and self._ordered[at].startswith(text)

    def _ends(self, text: str) -> bool:
        """Whether a control token ends with text, or is text."""
        turned = text[::-1]
        at = bisect_left(self._turned, turned)
        return at < len(self._turned) and self._turned[at].startswith(turned)


def all_texts(value: Any) -> list[str]:
    """Every text inside nested dicts and lists."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for item in pair for text in all_texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in all_texts(item)]
    return []
