"""Short messages over the page: errors with what to do, which stay until dismissed, and passing words. Knows no DOM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from local_llm.errors import LocalLLMError
from local_llm.widget.tree import El, h

PASSING_SECONDS = 3.0
MOST = 4  # on show at once


@dataclass(frozen=True)
class Toast:
    """kind: "error", "warning" or "info"; an info goes by itself."""

    number: int
    kind: str
    message: str
    remedy: str = ""


class Toasts:
    """show(tree): puts them on the page."""

    def __init__(self, show: Callable[[El], None]) -> None:
        self._show = show
        self._next = 0
        self.items: list[Toast] = []

    def add(self, kind: str, message: str, remedy: str = "") -> None:
        """One more; the same message twice is one."""
        if any((one.message, one.remedy) == (message, remedy) for one in self.items):
            return
        self._next += 1
        toast = Toast(self._next, kind, message, remedy)
        self.items = [*self.items, toast][-MOST:]
        if kind == "info":
            asyncio.get_running_loop().call_later(PASSING_SECONDS, self.dismiss, toast.number)
        self._show(self.render())

    def error(self, error: LocalLLMError) -> None:
        """What went wrong and what to do."""
        self.add("error", error.message, error.remedy)

    def dismiss(self, number: int) -> None:
        """Take one away, where it is still there."""
        self.items = [one for one in self.items if one.number != number]
        self._show(self.render())

    def clear(self, kind: str) -> None:
        """Take all of a kind away: what they told is over."""
        if any(one.kind == kind for one in self.items):
            self.items = [one for one in self.items if one.kind != kind]
            self._show(self.render())

    def render(self) -> El:
        """All that are on show."""
        return h("div", [_toast(one) for one in self.items], class_="toasts")


def _toast(toast: Toast) -> El:
    button = h("button", "✕", type="button", data_action="dismiss", data_index=str(toast.number), aria_label="Dismiss")
    remedy = h("p", toast.remedy, class_="remedy") if toast.remedy else None
    text = h("div", h("p", toast.message), remedy)
    role = "status" if toast.kind == "info" else "alert"
    return h("div", text, button, key=str(toast.number), class_="toast", data_kind=toast.kind, role=role)
