"""What a host page may put in place of ours: globalThis.LocalLLMHost = {eventBus, stateManager}, set before our script.

eventBus.emit(name, detail) hears every event beside `window`. stateManager.get(key) and .set(key, text), at once or by
promise, keep the settings in place of localStorage.
"""

from __future__ import annotations

import inspect
from typing import Any

import js

_PREFIX = "local-llm:"


class HostStore:
    """See gpu.ports.Store; over the page's own state manager."""

    lasts = True  # it is not known otherwise

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def get(self, key: str) -> str | None:
        value = await _settled(self._manager.get(_PREFIX + key))
        return value if isinstance(value, str) else None

    async def set(self, key: str, text: str) -> None:
        await _settled(self._manager.set(_PREFIX + key, text))


def state_manager() -> HostStore | None:
    """The page's state manager, if it gave one."""
    manager = _given("stateManager")
    return HostStore(manager) if manager else None


def event_bus() -> Any | None:
    """The page's event bus, if it gave one."""
    return _given("eventBus")


def _given(name: str) -> Any | None:
    host = getattr(js, "LocalLLMHost", None)
    return (getattr(host, name, None) or None) if host else None


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
