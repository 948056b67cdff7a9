"""Waiting for something for so long and no longer, as asyncio.wait_for does. Knows nothing of what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: float) -> T:
    """What `work` gives; it is cancelled where that takes longer. Raises TimeoutError.

    asyncio.wait_for sets its alarm to a time, and Pyodide's event loop refuses one that is past: it would fail where
    the machine pauses for `seconds` just then.
    """
    task = asyncio.ensure_future(work)
    try:
        if not (await asyncio.wait([task], timeout=seconds))[0]:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
