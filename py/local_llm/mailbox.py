"""What one task leaves for another, in order. Knows nothing of what it is."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """An asyncio.Queue of any length for one reader, whose futures are not the loop's own.

    Each of those costs Pyodide's event loop, which makes it by create_future(), one more turn.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._filled: asyncio.Future[None] | None = None  # what the reader waits for

    def put(self, item: T) -> None:
        self._items.append(item)
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def take(self) -> T:
        """The oldest item, once there is one."""
        while not self._items:
            self._filled = asyncio.Future(loop=asyncio.get_running_loop())
            await self._filled
        return self._items.popleft()
