"""The Store port of the page: localStorage, or memory where the browser refuses it. Knows no setting's meaning."""

from __future__ import annotations

import js
from pyodide.ffi import JsException

_PREFIX = "local-llm:"
_REFUSED = (JsException, AttributeError)


class BrowserStore:
    """See gpu.ports.Store. Where localStorage is refused (sandboxed frames), it lasts as long as the page."""

    def __init__(self) -> None:
        self._memory: dict[str, str] = {}
        self.lasts = _writable()

    async def get(self, key: str) -> str | None:
        try:
            text = js.localStorage.getItem(_PREFIX + key)
            return text if isinstance(text, str) else None  # JavaScript's null is not None
        except _REFUSED:
            return self._memory.get(key)

    async def set(self, key: str, text: str) -> None:
        try:
            js.localStorage.setItem(_PREFIX + key, text)
        except _REFUSED:
            self._memory[key] = text
            self.lasts = False


def _writable() -> bool:
    """Whether localStorage takes anything now."""
    try:
        js.localStorage.setItem(_PREFIX + "probe", "1")
        js.localStorage.removeItem(_PREFIX + "probe")
    except _REFUSED:
        return False
    return True
