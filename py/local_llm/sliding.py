"""Prompts that can let go of what is oldest, so that a conversation or an answer goes on past the cache's end.

What is kept is computed again once, in a prefill; then half of the cache is free. Knows no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from local_llm.text.messages import check_messages

Dropped = list[Mapping[str, Any]]


class Prompt(Protocol):
    """ids: what is computed now, before the answer."""

    ids: list[int]

    def slide(self, answered: int) -> int | None:
        """Shorten ids, and the answer of `answered` ids where need be; returns how many of its last ids stay.

        None: nothing more can go.
        """
        ...


class Fixed:
    """Keeps everything: a generation stops at the cache's end."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)

    def slide(self, answered: int) -> int | None:
        return None


class Text:
    """Ids without turns: the first `kept` stay (BOS), of the rest the newest half of a cache of `context` positions."""

    def __init__(self, ids: Sequence[int], context: int, kept: int) -> None:
        self.ids = list(ids)
        self._context, self._kept = context, kept

    def slide(self, answered: int) -> int | None:
        room = self._context // 2 - self._kept
        if room < 1:
            return None
        tail = min(answered, room)
        rest = self.ids[self._kept :]
        self.ids = self.ids[: self._kept] + rest[len(rest) - min(len(rest), room - tail) :]
        return tail


class Chat:
    """A conversation: the system's messages stay, of the rest the oldest turns go; the last turn stays.

    render: ids of messages. A turn begins with a user's message. before: what the conversation's last request let go
    of; it goes again if that is enough, so that what is in the cache can be used.
    """

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]],
        render: Callable[[Sequence[Mapping[str, Any]]], list[int]],
        context: int,
        answer: int,
        before: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        checked = check_messages(messages)
        leading = next((at for at, message in enumerate(checked) if message["role"] != "system"), len(checked))
        turns = [at for at, message in enumerate(checked) if at > leading and message["role"] == "user"]
        self._messages, self._render, self._context, self._leading = list(messages), render, context, leading
        self._starts = [leading, *turns]
        self._dropped = 0  # of _starts
        room = context - min(answer, context // 4)
        known = leading + len(before)
        if before and known in self._starts and self._messages[leading:known] == list(before):
            self._dropped = self._starts.index(known)
        self.ids = self._rendered(self._dropped)
        if len(self.ids) > room:
            self._drop_to(context // 2)

    @property
    def dropped(self) -> Dropped:
        """Messages that are not in the prompt."""
        return self._messages[self._leading : self._starts[self._dropped]]

    def slide(self, answered: int) -> int | None:
        self._drop_to(self._context // 2 - answered)
        kept = min(answered, max(self._context // 2 - len(self.ids), self._context // 8))
        return kept if kept and len(self.ids) + kept <= self._context * 3 // 4 else None

    def _rendered(self, dropped: int) -> list[int]:
        return self._render(self._messages[: self._leading] + self._messages[self._starts[dropped] :])

    def _drop_to(self, most: int) -> None:
        """Let go of as few turns as leave at most `most` ids, but never of the last one."""
        low, high = self._dropped, len(self._starts) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if len(self._rendered(middle)) <= most else (middle + 1, high)
        self._dropped, self.ids = low, self._rendered(low)
