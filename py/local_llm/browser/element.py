"""The demo page's view over the DOM. Knows elements by their data-part; decides nothing.

Text goes in as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import create_proxy


class PageMessage:
    """One message in the log."""

    def __init__(self, article: Any, body: Any, note: Any) -> None:
        self._article, self._body, self._note = article, body, note

    def set_text(self, text: str) -> None:
        self._body.textContent = text
        self._follow()

    def set_note(self, text: str) -> None:
        self._note.textContent = text
        self._follow()

    def _follow(self) -> None:
        log = self._article.parentElement
        if log is not None and log.scrollHeight - log.scrollTop - log.clientHeight < 160:
            log.scrollTop = log.scrollHeight


class PageView:
    """See page.view.View."""

    def __init__(self, root: Any) -> None:
        found = root.querySelectorAll("[data-part]")
        self._root = root
        self._parts = {str(part.dataset.part): part for part in found}

    def on(self, part: str, event: str, callback: Callable[[], None]) -> None:
        def heard(raised: Any) -> None:
            raised.preventDefault()
            callback()

        self._parts[part].addEventListener(event, create_proxy(heard))

    def set_text(self, part: str, text: str) -> None:
        self._parts[part].textContent = text

    def set_phase(self, phase: str) -> None:
        self._root.dataset.phase = phase

    def set_progress(self, fraction: float) -> None:
        self._parts["progress"].value = fraction

    def enable(self, part: str, enabled: bool) -> None:
        self._parts[part].disabled = not enabled

    def take_prompt(self) -> str:
        box = self._parts["prompt"]
        text = str(box.value)
        box.value = ""
        box.focus()
        return text

    def picked_file(self) -> Any | None:
        files = self._parts["file"].files
        return files.item(0) if files.length else None

    def add_message(self, role: str) -> PageMessage:
        article = js.document.createElement("article")
        article.dataset.role = role
        body, note = js.document.createElement("p"), js.document.createElement("small")
        article.append(body, note)
        log = self._parts["log"]
        log.append(article)
        log.scrollTop = log.scrollHeight
        return PageMessage(article, body, note)

    def clear_messages(self) -> None:
        self._parts["log"].replaceChildren()
