"""What the demo page's logic needs of a page. Knows no DOM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from local_llm.widget.tree import El


class View(Protocol):
    """Parts are named as in index.html's data-part attributes."""

    def on(self, part: str, event: str, callback: Callable[[], None]) -> None: ...

    def on_action(self, callback: Callable[[str, str], None]) -> None:
        """A click on a button of a tree: its data-action and its data-index; for copy-code the code beside it."""
        ...

    def on_drop(self, callback: Callable[[Sequence[Any]], None]) -> None:
        """Files, or folders with all that is in them, were dropped onto the page."""
        ...

    def set_text(self, part: str, text: str) -> None: ...

    def set_phase(self, phase: str) -> None:
        """ "idle", "loading", "ready", "generating" or "error": decides what is shown."""
        ...

    def set_progress(self, fraction: float) -> None: ...

    def enable(self, part: str, enabled: bool) -> None: ...

    def value(self, part: str) -> str:
        """What a field holds."""
        ...

    def set_value(self, part: str, text: str) -> None: ...

    def focus(self, part: str) -> None: ...

    def picked_files(self) -> Sequence[Any]:
        """The files that were chosen from disk."""
        ...

    def widget_model(self, model: str) -> None:
        """What the widget's Load button loads."""
        ...

    def show_log(self, tree: El, to_end: bool) -> None:
        """Bring the conversation in line. to_end: scroll there, wherever the reader is."""
        ...

    def show_toasts(self, tree: El) -> None: ...

    async def copy(self, text: str) -> bool:
        """To the clipboard; False where the browser refuses."""
        ...

    def download(self, name: str, kind: str, text: str) -> None:
        """Save a text as a file. kind: its media type."""
        ...
