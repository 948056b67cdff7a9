"""Prompts of no length and of great length, conversations of thousands of messages, clocks that jump."""

from __future__ import annotations

import time

import pytest

from local_llm.errors import ContextOverflow, InvalidRequest
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench

LENGTH = 100_000
QUICK = 5.0  # seconds of the processor; they take some tenths, and a quadratic way would take minutes


@pytest.fixture
def start(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)

    async def started(clock=None):
        bench = Bench(tmp_path)
        if clock is not None:
            bench.clock = clock
        service = bench.service()
        await service.init("tiny")
        return bench, service

    return started


@pytest.mark.parametrize("text", ["a", "a b ", " ", "\n", "é", "😀", "<|im_end|>", "<", "1", "ab" * 50 + " "])
@pytest.mark.parametrize("when_full", ["stop", "slide"])
async def test_a_long_prompt_is_refused_quickly(start, text, when_full):
    _, service = await start()
    long = (text * LENGTH)[:LENGTH]
    begun = time.thread_time()
    with pytest.raises(ContextOverflow):
        await service.complete(long, when_full=when_full)
    with pytest.raises(ContextOverflow):
        await service.chat([{"role": "user", "content": long}], when_full=when_full)
    assert time.thread_time() - begun < QUICK
    assert service.status()["is_ready"]
    assert (await service.complete("a", max_tokens=2)).usage.completion_tokens == 2


async def test_prompts_of_no_length(start):
    _, service = await start()
    for empty in ("", []):
        with pytest.raises(InvalidRequest, match="no tokens"):
            await service.complete(empty)
        with pytest.raises(InvalidRequest, match="no tokens"):
            await service.complete(empty, when_full="slide")
    with pytest.raises(InvalidRequest, match="empty"):
        await service.chat([])
    with pytest.raises(InvalidRequest, match="empty"):
        await service.chat([], when_full="slide")
    assert (await service.chat([{"role": "user", "content": ""}], max_tokens=3)).usage.completion_tokens == 3
    assert (await service.chat([{"role": "system", "content": ""}], when_full="slide", max_tokens=3)).text


async def test_two_thousand_messages(start):
    _, service = await start()
    messages = [{"role": "system", "content": "Be brief."}]
    messages += [{"role": "assistant" if n % 2 else "user", "content": f"Message {n}."} for n in range(1999)]
    begun = time.thread_time()
    with pytest.raises(ContextOverflow):
        await service.chat(messages)
    reply = await service.chat(messages, max_tokens=5, when_full="slide")
    assert reply.usage.completion_tokens == 5
    assert time.thread_time() - begun < 2 * QUICK


@pytest.mark.parametrize("jump", [-1e9, -5.0, 1e9])
async def test_a_clock_that_jumps_ends_nothing_and_measures_nothing_negative(start, jump):
    now, ticks = 1e6, 0

    def clock():
        nonlocal now, ticks
        ticks += 1
        now += jump if ticks % 7 == 0 else 0.01
        return now

    bench, service = await start(clock)
    for _ in range(3):
        reply = await service.chat([{"role": "user", "content": "Hi"}], max_tokens=60)
        assert reply.usage.completion_tokens == 60
        assert reply.elapsed >= 0
        assert reply.time_to_first_token is not None
        assert reply.time_to_first_token >= 0
        assert reply.tokens_per_second is None or reply.tokens_per_second > 0
    report = service.performance.report()
    for name, summary in report.items():
        if isinstance(summary, dict) and summary.get("count"):
            assert summary["mean"] >= 0, name
    assert all(entry["load_seconds"] >= 0 for entry in await service.analytics())
    assert "error" not in bench.names()


async def test_after_a_forward_jump_batches_are_long_again_soon(start):
    now = 0.0

    def clock():
        nonlocal now
        now += 1e-4
        return now

    _, service = await start(clock)
    engine = service._require().engine
    await service.chat([{"role": "user", "content": "Hi"}], max_tokens=60)
    now += 1e9
    await service.chat([{"role": "user", "content": "Hi"}], max_tokens=120)
    assert engine._pace.seconds < 1
