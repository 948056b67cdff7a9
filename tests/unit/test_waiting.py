"""Waiting with a limit; nothing in a page may wait otherwise, whose event loop takes no alarm for a past time."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import local_llm
from local_llm.browser.waiting import within


async def test_what_comes_in_time_comes():

    async def soon():
        await asyncio.sleep(0.01)
        return 7

    assert await within(soon(), 5) == 7
    with pytest.raises(ZeroDivisionError):
        await within(fails(), 5)


async def fails():
    raise ZeroDivisionError


async def test_what_does_not_is_cancelled():
    ended = []

    async def never():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(never(), 0.01)
    await asyncio.sleep(0)
    assert ended == [True]
    task = asyncio.ensure_future(within(never(), 5))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert ended == [True, True]


async def test_what_is_shielded_goes_on():
    inner = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await within(asyncio.shield(inner), 0.01)
    await asyncio.sleep(0)
    assert not inner.cancelled()


def test_nothing_in_a_page_sets_alarms_to_a_time():
    folder = Path(local_llm.__file__).parent
    refused = re.compile(r"wait_for\(|asyncio\.timeout|call_at\(")
    found = [
        str(file) for file in folder.rglob("*.py") if file.parent.name != "native" and refused.search(file.read_text())
    ]
    assert found == []
