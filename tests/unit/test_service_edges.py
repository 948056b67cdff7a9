"""The service where calls meet: in listeners, in the middle of loads, with callers who go, and with wrong words."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from local_llm.errors import Busy, DeviceLost, InvalidRequest, LocalLLMError, NotReady
from local_llm.generate.preparation import Preparation
from local_llm.reply import Reply
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import RecordingDevice
from tests.unit.service_rig import Bench
from tests.unit.test_recovery import Graveyard

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def bench(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    write_tiny_gguf(tmp_path / "other.gguf", 2)
    return Bench(tmp_path)


async def working(service):
    """A request that has the turn, and what lets it end."""
    gate = asyncio.Event()
    task = asyncio.ensure_future(service.with_engine(lambda _: gate.wait()))
    await asyncio.sleep(0)
    return task, gate


async def turns(number=20):
    for _ in range(number):
        await asyncio.sleep(0)


# Loads


@pytest.mark.parametrize(("first", "event"), [("gone", "error"), ("other", "ready")])
async def test_who_hears_of_a_loads_end_may_load_again(bench, first, event):
    service, tasks = bench.service(), []
    service.on(event, lambda _: tasks or tasks.append(asyncio.ensure_future(service.init("tiny"))))
    ended = await asyncio.gather(service.init(first), return_exceptions=True)
    assert isinstance(ended[0], LocalLLMError) == (event == "error")
    await tasks[0]
    assert service.status()["model"] == "tiny"


async def test_a_load_after_an_unload_that_is_not_awaited(bench):
    service = bench.service()
    first = asyncio.ensure_future(service.init("tiny"))
    await turns(6)
    unloading = asyncio.ensure_future(service.unload())
    await asyncio.sleep(0)
    await service.init("other")
    await unloading
    with pytest.raises(NotReady):
        await first
    assert service.status()["model"] == "other"


async def test_an_unload_while_init_reads_the_settings_counts(bench):
    service = bench.service()
    loading = asyncio.ensure_future(service.init("tiny"))
    await asyncio.sleep(0)
    await service.close()
    with pytest.raises(NotReady):
        await loading
    assert bench.device.live == []


async def test_an_unload_that_is_given_up_leaves_the_model(bench):
    service = bench.service()
    await service.init("tiny")
    request, gate = await working(service)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.unload(), 0.02)
    gate.set()
    await request
    assert service.status()["is_ready"]
    assert isinstance(await service.chat(HELLO, max_tokens=2), Reply)


async def test_a_switch_that_is_given_up_leaves_the_model(bench):
    service = bench.service()
    await service.init("tiny")
    request, gate = await working(service)
    switching = asyncio.ensure_future(service.init("other"))
    await turns()
    unloading = asyncio.ensure_future(service.unload())
    await turns(3)
    unloading.cancel()
    await asyncio.wait([unloading, switching])
    gate.set()
    await request
    status = service.status()
    assert (status["is_ready"], status["model"], status["gpu_bytes"] > 0) == (True, "tiny", True)
    assert isinstance(await service.chat(HELLO, max_tokens=2), Reply)


WRONG = [{"context_size": -5}, {"context_size": "512"}, {"context_size": 2.0}, {"quantize": 3}, {"quantize": "8"}]


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_option_costs_nobody_the_model(bench, wrong):
    service = bench.service()
    await service.init("tiny")
    with pytest.raises(InvalidRequest):
        await service.init("other", **wrong)
    assert service.status()["is_ready"]
    assert service.status()["model"] == "tiny"


async def test_a_retry_asks_for_what_was_asked_for(bench):
    service, file = bench.service(), bench.folder / "tiny.gguf"
    await service.init("tiny", quantize=4)
    file.rename(bench.folder / "away")
    with pytest.raises(LocalLLMError):
        await service.init("tiny", quantize=0)
    (bench.folder / "away").rename(file)
    await service.retry()
    assert service._loaded is not None
    assert service._loaded.origin.quantize is None


async def test_two_who_need_the_device_open_one(bench):
    opened = []

    async def open_device():
        await asyncio.sleep(0)
        opened.append(RecordingDevice())
        return opened[-1]

    bench.open_device = open_device
    service = bench.service()
    await asyncio.gather(service.check_webgpu(), service.check_webgpu())
    assert len(opened) == 1


# A lost device


async def test_who_gives_up_while_the_device_comes_back_costs_nobody_the_model(bench):
    bench = Graveyard(bench.folder, (None,))
    service = bench.service()
    await service.init("tiny")
    plain, opening = bench.open_device, asyncio.Event()

    async def slowly():
        opening.set()
        await asyncio.sleep(0.05)
        return await plain()

    service._host = service._host.__class__(**{**vars(service._host), "open_device": slowly})
    bench.device.reads = 0
    asking = asyncio.ensure_future(service.logits([1, 2, 3]))
    await opening.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert service.status()["is_ready"]
    assert "error" not in bench.names()
    assert isinstance(await service.chat(HELLO, max_tokens=2), Reply)


async def test_a_model_that_is_to_go_is_not_brought_back(bench, monkeypatch):
    bench = Graveyard(bench.folder, (None,))
    service = bench.service()
    await service.init("tiny")
    gate, begun = asyncio.Event(), []
    monkeypatch.setattr(service.keeping, "begin", lambda source, *_: begun.append(source))

    async def work(engine):
        await gate.wait()
        raise DeviceLost("It went.")

    async def held():
        async with service._turn:
            await service._survive(service._require(), work)

    working = asyncio.ensure_future(held())
    await asyncio.sleep(0)
    switching = asyncio.ensure_future(service.init("other"))
    await turns()
    gate.set()
    await switching
    with pytest.raises(NotReady):
        await working
    assert begun == ["other.gguf"]
    assert service.status()["model"] == "other"


async def test_while_a_model_comes_back_it_is_the_one_that_is_opened(bench, monkeypatch):
    bench = Graveyard(bench.folder, (2,))
    service = bench.service()
    await service.init("tiny")
    begun, switching = [], []
    monkeypatch.setattr(service.keeping, "begin", lambda source, *_: begun.append(source))

    def switch(detail):
        if not switching:
            switching.append(asyncio.ensure_future(service.init("other")))

    service.on("loading", switch)
    await service.chat(HELLO, max_tokens=40)
    await asyncio.wait(switching)
    assert begun == ["tiny.gguf", "other.gguf"]


# Requests


@pytest.mark.parametrize("stream", [False, True])
async def test_who_does_not_want_to_wait_is_refused_though_the_other_has_just_come(bench, stream):
    service = bench.service()
    await service.init("tiny")

    async def asked():
        answer = await service.chat(HELLO, max_tokens=5, when_busy="raise", stream=stream)
        return [chunk async for chunk in answer][-1].reply if stream else answer

    first, second = await asyncio.gather(asked(), asked(), return_exceptions=True)
    assert isinstance(first, Reply)
    assert isinstance(second, Busy)
    assert isinstance(await asked(), Reply)


async def test_what_comes_behind_a_stop_is_no_part_of_the_answer_whatever_the_speed(bench):
    service = bench.service()
    await service.init("tiny")
    whole = await service.chat(HELLO, max_tokens=60, ignore_eos=True)
    assert isinstance(whole, Reply)
    found, engine = set(), service._require().engine
    for seconds in (1.0, 0.004, 0.0005):
        engine._pace.seconds = seconds
        engine._pace.saw = lambda seconds: None
        reply = await service.chat(HELLO, max_tokens=60, ignore_eos=True, stop=[whole.text[10:12]])
        assert isinstance(reply, Reply)
        found.add((reply.text, reply.usage.completion_tokens, reply.token_ids))
    assert found == {(whole.text[:10], 12, whole.token_ids[:12])}


async def test_the_events_tell_all_of_the_text(bench):
    service = bench.service()
    await service.init("tiny")
    whole = await service.chat(HELLO, max_tokens=20, ignore_eos=True)
    assert isinstance(whole, Reply)
    bench.heard.clear()
    reply = await service.chat(HELLO, max_tokens=20, ignore_eos=True, stop=[whole.text[-1] + "never"])
    assert isinstance(reply, Reply)
    assert reply.text == whole.text
    assert "".join(detail["delta"] for name, detail in bench.heard if name == "token") == whole.text


@pytest.mark.parametrize("options", [{"max_tokens": 10**400}, {"temperature": 10**400}, {"seed": -(10**5000)}])
async def test_numbers_without_measure_are_refused(bench, options):
    service = bench.service()
    await service.init("tiny")
    with pytest.raises(InvalidRequest):
        await service.chat(HELLO, **options)


@pytest.mark.parametrize("wrong", [None, 5, ["a"], [1.5], {"a": 1}, b"ab"])
async def test_what_is_no_prompt_is_refused(bench, wrong):
    service = bench.service()
    await service.init("tiny")
    for asked in (service.complete, service.logits):
        with pytest.raises(InvalidRequest, match="token ids"):
            await asked(wrong)
    if wrong != ["a"]:
        with pytest.raises(InvalidRequest, match="texts"):
            await service.embed(wrong)


async def test_texts_come_in_whatever_holds_them(bench):
    service = bench.service()
    await service.init("tiny")
    for texts in (["a", "b"], np.array(["a", "b"]), (text for text in "ab"), {"a": 1, "b": 2}.keys()):
        assert (await service.embed(texts)).shape[0] == 2


async def test_a_storage_that_fails_does_not_keep_the_service_from_closing(bench, monkeypatch):
    service = bench.service()

    async def broken(source):
        await turns()
        raise OSError("no disk")

    monkeypatch.setattr(service.keeping, "loaded", broken)
    await service.init("tiny")
    await service.close()
    assert bench.device.live == []


async def test_damaged_options_are_dropped(bench):
    kept = {"version": 1, "options": {"mirostat": 2, "max_tokens": 3, "top_k": {}}}
    bench.shelf.texts["settings"] = json.dumps(kept)
    service = bench.service()
    await service.init("tiny")
    assert await service.get_options() == {"max_tokens": 3}
    reply = await service.chat(HELLO, ignore_eos=True)
    assert isinstance(reply, Reply)
    assert reply.usage.completion_tokens == 3


def test_what_was_prepared_in_an_event_loop_that_is_over_harms_no_later_one():
    preparation = Preparation()

    async def endless():
        await asyncio.Event().wait()

    async def begun():
        preparation.begin(endless)
        await turns(2)

    with ThreadPoolExecutor(1) as elsewhere:  # in this thread Playwright's loop may be suspended
        for work in (begun, preparation.wait, preparation.stop):
            elsewhere.submit(lambda work=work: asyncio.run(work())).result(60)
