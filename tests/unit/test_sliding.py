"""A conversation that outgrows the cache goes on: the system prompt stays, the oldest turns go."""

from __future__ import annotations

import pytest

from local_llm.errors import ContextOverflow, InvalidRequest
from local_llm.sliding import Chat, Text
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench

SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture
def start(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)  # 256 positions

    async def started():
        service = Bench(tmp_path).service()
        await service.init("tiny")
        engine, seen = service._require().engine, []
        generate = engine.generate

        def noted(request, outcome):
            seen.append(request.prompt)
            return generate(request, outcome)

        engine.generate = noted
        return service, seen

    return started


def said(service, ids) -> str:
    codec = service._require().dialogue.codec
    return b"".join(map(codec.token_bytes, ids)).decode("utf-8", "replace")


async def test_sixty_turns_go_on_and_the_system_prompt_stays(start):
    service, seen = await start()
    messages, cached = [SYSTEM], 0
    for turn in range(60):
        messages.append({"role": "user", "content": f"Turn {turn}?"})
        reply = await service.chat(messages, max_tokens=12, when_full="slide")
        assert reply.usage.completion_tokens == 12
        assert reply.finish_reason == "length"
        assert len(seen[-1]) + 12 <= 257
        text = said(service, seen[-1])
        assert "Be brief." in text
        assert f"Turn {turn}?" in text
        cached += reply.usage.cached_tokens > len(seen[-1]) // 2
        messages.append({"role": "assistant", "content": reply.text})
    assert "Turn 0?" not in text
    assert len(seen) == 60
    assert cached > 40, "most turns find their prompt's beginning in the cache"


async def test_without_sliding_the_same_conversation_overflows(start):
    service, _ = await start()
    messages = [SYSTEM, *[{"role": "user", "content": f"Turn {turn}?"} for turn in range(60)]]
    with pytest.raises(ContextOverflow):
        await service.chat(messages)
    assert (await service.chat(messages, when_full="slide", max_tokens=5)).usage.completion_tokens == 5


async def test_an_answer_goes_on_past_the_end_of_the_cache(start):
    service, seen = await start()
    messages = [SYSTEM, {"role": "user", "content": "Old"}, {"role": "assistant", "content": "news"}]
    messages.append({"role": "user", "content": "Go on"})
    stopped = await service.chat(messages, max_tokens=1000)
    assert stopped.finish_reason == "context"
    reply = await service.chat(messages, max_tokens=1000, when_full="slide")
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 1000)
    assert reply.text.startswith(stopped.text)
    assert 6 < len(seen) < 12, "half of the cache is free after each slide"
    for ids in seen[2:]:
        assert len(ids) == 128
        text = said(service, ids)
        assert "Be brief." in text
        assert "Go on" in text
        assert "Old" not in text


async def test_a_text_goes_on_with_its_newest_half(start):
    service, seen = await start()
    reply = await service.complete("abc " * 20, max_tokens=600, when_full="slide")
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 600)
    assert all(len(ids) <= 128 for ids in seen)


async def test_a_turn_that_fills_the_cache_is_refused_or_stops(start):
    service, _ = await start()
    with pytest.raises(ContextOverflow):
        await service.chat([SYSTEM, {"role": "user", "content": "abcdefgh " * 100}], when_full="slide")
    long = [SYSTEM, {"role": "user", "content": "z" * 170}]
    reply = await service.chat(long, when_full="slide", max_tokens=1000)
    assert reply.finish_reason == "context"


async def test_an_unknown_way_is_refused(start):
    service, _ = await start()
    with pytest.raises(InvalidRequest, match="when_full"):
        await service.complete("a", when_full="forget")


def test_turns_go_whole_and_as_few_as_needed():
    messages = [SYSTEM] + [{"role": "user" if n % 2 == 0 else "assistant", "content": "x"} for n in range(19)]
    chat = Chat(messages, lambda kept: [0] * (10 * len(kept)), 150, 20)
    assert len(chat.ids) == 60, "the system's message and the newest turns: at most half of 150"
    assert chat.dropped == messages[1:15]
    same = Chat([*messages, messages[1]], lambda kept: [0] * (10 * len(kept)), 150, 20, chat.dropped)
    assert same.dropped == chat.dropped
    assert chat.slide(30) == 30
    assert len(chat.ids) == 40
    assert chat.slide(1000) == 55
    assert len(chat.ids) == 20, "the system's message and the last turn"


@pytest.mark.parametrize(("ids", "answered", "left", "tail"), [(60, 40, 10, 40), (100, 0, 50, 0), (10, 90, 0, 50)])
def test_a_texts_newest_half_stays(ids, answered, left, tail):
    text = Text(range(ids), 100, 0)
    assert text.slide(answered) == tail
    assert text.ids == list(range(ids - left, ids))


def test_a_texts_first_id_may_stay():
    text = Text(range(80), 100, 1)
    assert text.slide(20) == 20
    assert text.ids == [0, *range(51, 80)]
