"""The Store port of the page: localStorage, or memory where the browser refuses it. Knows no setting's meaning."""

from __future__ import annotations

import js
from pyodide.ffi import JsException

_PREFIX = "local-llm:"


class BrowserStore:
    """See gpu.ports.Store. Where localStorage is refused (sandboxed frames), it lasts as long as the page."""

    def __init__(self) -> None:
        self._memory: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        try:
            text = js.localStorage.getItem(_PREFIX + key)
            return text if isinstance(text, str) else None  # JavaScript's null is not None
        except (JsException, AttributeError):
            return self._memory.get(key)

    async def set(self, key: str, text: str) -> None:
        try:
            js.localStorage.setItem(_PREFIX + key, text)
        except (JsException, AttributeError):
            self._memory[key] = text
