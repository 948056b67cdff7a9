"""A device again, after one was lost. Knows neither why it went nor what was on it.

For a moment after the GPU's process has died a browser offers no adapter, or one whose device is lost at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from local_llm.errors import WebGPUUnavailable
from local_llm.gpu.ports import Device

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds before each further attempt


async def reopen(open_device: Callable[[], Awaitable[Device]]) -> Device:
    """What open_device gives, asked again after each of PAUSES. Raises WebGPUUnavailable where the last one fails."""
    for pause in PAUSES:
        try:
            return await open_device()
        except WebGPUUnavailable:
            await asyncio.sleep(pause)
    return await open_device()
