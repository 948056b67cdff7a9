"""StateManager: the chosen model, its options and what was measured of each model, kept across visits in a Store.

Settings are never worth a failure: a store that is damaged, full or broken means defaults, and `problem` says why.
Knows no page and no model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from local_llm.errors import InvalidRequest
from local_llm.generate.sampler import read_options
from local_llm.gpu.ports import Store

KEY = "settings"
VERSION = 1
KEPT = ("context_size", "quantize", "cache_bits")  # options of the last load


@dataclass(frozen=True)
class Settings:
    """model: id or URL that was loaded last. options: of a generation. measured: per model, see service.analytics."""

    model: str | None = None
    context_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    memory_budget: int | None = None
    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quantize: int | None = None  # bits
    cache_bits: int | None = None


class StateManager:
    """Settings in memory, written to the store on every change. The host may inject any Store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._restoring: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self.settings = Settings()
        self.problem: str | None = None

    async def restore(self) -> Settings:
        """What was kept. Reads the store once; a second call answers from memory."""
        if self._restoring is None:
            self._restoring = asyncio.ensure_future(self._restore())
        await asyncio.shield(self._restoring)
        return self.settings

    async def update(self, **changes: Any) -> Settings:
        """Change fields of Settings and keep them."""
        await self.restore()
        return await self._keep(lambda held: replace(held, **changes))

    async def _keep(self, change: Callable[[Settings], Settings]) -> Settings:
        """Here, and over what is in the store by now: other tabs write there too."""
        self.settings = change(self.settings)
        async with self._turn:  # writes arrive in the order of the changes
            try:
                held = await self._held()
                now = self.settings if held is None else change(held)
                await self._store.set(KEY, json.dumps({"version": VERSION, **asdict(now)}))
                self.problem = None
            except Exception as error:  # a host's store may fail in ways we cannot list
                self.problem = f"Settings could not be kept: {error}"
        return self.settings

    async def measured(self, model: str, facts: Mapping[str, Any]) -> None:
        """Keep what was measured of one model, over what was known of it."""
        await self.restore()

        def known(held: Settings) -> Settings:
            return replace(held, measured={**held.measured, model: {**held.measured.get(model, {}), **facts}})

        await self._keep(known)

    async def _restore(self) -> None:
        try:
            self.settings = await self._read() or self.settings
        except Exception as error:  # not JSON, or a host's store that fails
            self.problem = f"Settings could not be restored: {error}"

    async def _held(self) -> Settings | None:
        try:
            return await self._read()
        except Exception:
            return None

    async def _read(self) -> Settings | None:
        text = await self._store.get(KEY)
        return None if text is None else read_settings(json.loads(text))


def read_settings(value: Any) -> Settings:
    """From what was kept; what does not fit is dropped."""
    given = value if isinstance(value, dict) else {}
    model, context, budget = given.get("model"), given.get("context_size"), given.get("memory_budget")
    options, measured = given.get("options"), given.get("measured")
    return Settings(
        model=model if isinstance(model, str) and model else None,
        context_size=context if _is_count(context) else None,
        quantize=_one_of((4, 8), given.get("quantize")),
        cache_bits=_one_of((8, 16), given.get("cache_bits")),
        options={name: item for name, item in options.items() if _is_option(name, item)}
        if isinstance(options, dict)
        else {},
        memory_budget=budget if _is_count(budget) else None,
        measured={key: item for key, item in measured.items() if isinstance(item, dict)}
        if isinstance(measured, dict)
        else {},
    )


def _is_option(name: str, value: Any) -> bool:
    try:
        read_options({name: value})
    except InvalidRequest:
        return False
    return True


def _one_of(known: tuple[int, ...], value: Any) -> int | None:
    return value if _is_count(value) and value in known else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
