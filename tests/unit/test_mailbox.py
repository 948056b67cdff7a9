"""The mailbox between a generation and its reader."""

from __future__ import annotations

import asyncio

import pytest

from local_llm.mailbox import Mailbox


async def test_items_come_in_order_whether_the_reader_waits_or_not():
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.put(2)
    assert [await box.take(), await box.take()] == [1, 2]
    reader = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    box.put(3)
    box.put(4)  # before the reader had its turn
    assert [await reader, await box.take()] == [3, 4]


async def test_a_reader_that_gives_up_takes_nothing_along():
    box: Mailbox[int] = Mailbox()
    reader = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    box.put(1)
    assert await box.take() == 1


async def test_what_came_as_the_reader_gave_up_stays():
    box: Mailbox[int] = Mailbox()
    reader = asyncio.ensure_future(box.take())
    await asyncio.sleep(0)
    box.put(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await box.take() == 1


async def test_a_waiting_reader_costs_one_turn_of_the_loop():
    """In Pyodide a future of the loop's own has a callback of its own."""
    loop = asyncio.get_running_loop()
    made = []
    plain, loop.create_future = loop.create_future, lambda: made.append(1) or plain()
    try:
        box: Mailbox[int] = Mailbox()
        reader = asyncio.ensure_future(box.take())
        await asyncio.sleep(0)
        box.put(1)
        assert await reader == 1
    finally:
        del loop.create_future
    assert not made
