"""What the demo page's logic needs of a page. Knows no DOM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Message(Protocol):
    """One message on show."""

    def set_text(self, text: str) -> None: ...

    def set_note(self, text: str) -> None:
        """A line of small print below the text."""
        ...


class View(Protocol):
    """Parts are named as in index.html's data-part attributes."""

    def on(self, part: str, event: str, callback: Callable[[], None]) -> None: ...

    def set_text(self, part: str, text: str) -> None: ...

    def set_phase(self, phase: str) -> None:
        """ "loading", "ready", "generating" or "error": decides what is shown."""
        ...

    def set_progress(self, fraction: float) -> None: ...

    def enable(self, part: str, enabled: bool) -> None: ...

    def take_prompt(self) -> str:
        """What was typed; the box is empty afterwards."""
        ...

    def picked_file(self) -> Any | None:
        """The file that was chosen from disk, if any."""
        ...

    def add_message(self, role: str) -> Message: ...

    def clear_messages(self) -> None: ...
