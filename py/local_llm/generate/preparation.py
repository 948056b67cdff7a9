"""Work that gets something ready while the model is at work otherwise: begun once, ended with the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from local_llm.errors import LocalLLMError


class Preparation:
    """At most one such work at a time."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def begin(self, work: Callable[[], Awaitable[None]]) -> None:
        """Unless it, or another, is going on, or failed: what failed once is not begun again."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run(work))

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LocalLLMError:  # a lost device is told to those who wait for it
            return
        self._task = None

    async def wait(self) -> None:
        """For what is going on."""
        if self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """It is not wanted any more: the model's buffers are about to go. It holds none of its own afterwards."""
        if self._task is not None and not self._task.done():  # its event loop may be over, too
            self._task.cancel()
            await asyncio.wait([self._task])
