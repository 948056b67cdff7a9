"""One answer that a page waits for: what shows it, what it would undo, and the task that reads it. Knows no page.

A service has other callers, too, and tells everybody of every generation. Which one is this answer's is told by a
context variable: the service's tasks inherit it from the task that reads the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from local_llm.page.conversation import Conversation
from local_llm.page.log import Live


class Asking:
    """generating: its turn has come; before that it waits for a load or in line.

    before: the conversation that comes back where no answer does; None: the message goes back to where it was typed.
    """

    def __init__(self, before: Conversation | None) -> None:
        self.before = before
        self.live = Live()
        self.generating = False
        self._reading: asyncio.Task[None] | None = None

    async def read(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work that reads the answer, to its end or until `leave`. Raises what it raises."""
        reading = self._reading = asyncio.ensure_future(self._read(work))
        try:
            await asyncio.wait([reading])
        finally:
            reading.cancel()
        if not reading.cancelled():
            reading.result()

    def leave(self) -> None:
        """Read no further: the stream closes, which ends its generation or its waiting and nobody else's."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, work: Callable[[], Awaitable[None]]) -> None:
        _asking.set(self)
        await work()


_asking: ContextVar[Asking | None] = ContextVar("asking", default=None)


def started(detail: Mapping[str, Any]) -> None:
    """Hears generation-start: within an answer's own context, its turn has come."""
    asking = _asking.get()
    if asking is not None:
        asking.generating = True
