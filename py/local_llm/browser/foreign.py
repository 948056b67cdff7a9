"""A host page's own service object behind a widget: JavaScript with the blueprint's names, read as ours is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import js


class ForeignService:
    """What widget/ needs of a service, asked of `api`. It tells no events: the widget's timer finds changes."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def status(self) -> dict[str, Any]:
        return _plain(self._api.getStatus()) or {}

    def available_models(self) -> list[dict[str, Any]]:
        found = _plain(self._api.getAvailableModels()) if hasattr(self._api, "getAvailableModels") else None
        return found if isinstance(found, list) else []

    def on(self, event: str, callback: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        return lambda: None

    async def init(self, model: str | None = None) -> None:
        await (self._api.init() if model is None else self._api.init(model))

    async def switch_model(self, model: str | None) -> None:
        await self._api.switchModel(model)

    async def delete_model(self, model: str | None) -> None:
        await self._api.deleteModel(model)

    async def pin_model(self, model: str | None, pinned: bool = True) -> None:
        await self._api.pinModel(model, pinned)

    async def export_model(self, model: str | None) -> tuple[str, Any]:
        made = await self._api.exportModel(model)
        return str(made.name), made.blob

    async def import_model(self, file: Any) -> None:
        await self._api.importModel(file)

    async def retry(self) -> None:
        await (self._api.retry() if hasattr(self._api, "retry") else self._api.init())

    async def unload(self) -> None:
        await self._api.unload()

    def interrupt(self) -> None:
        if hasattr(self._api, "interrupt"):
            self._api.interrupt()


def _plain(value: Any) -> Any:
    """A JavaScript value as Python data with snake_case names; a promise has none yet."""
    text = js.JSON.stringify(value)
    return json.loads(text, object_hook=_snake) if text else None


def _snake(item: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", key): value for key, value in item.items()}
