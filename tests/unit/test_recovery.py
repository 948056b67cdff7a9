"""A GPU device that goes away: the stream goes on, on a new device, with the text of an undisturbed run."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from local_llm.errors import DeviceLost, NotReady, WebGPUUnavailable
from local_llm.gpu import reopening
from local_llm.runtime import MOST_LOSSES
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import RecordingDevice
from tests.unit.service_rig import Bench

HELLO = [{"role": "user", "content": "Hello"}]


class Mortal(RecordingDevice):
    """Answers so many reads and nothing from then on; None: all."""

    def __init__(self, reads: int | None) -> None:
        super().__init__()
        self.reads = reads

    def _later(self, value, read=False):
        """Begun at once, as a GPU does; perhaps nobody waits for it."""
        task = asyncio.ensure_future(self._answer(value, read))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return task

    async def _answer(self, value, read):
        await asyncio.sleep(0)
        if self.reads == 0:
            raise DeviceLost("The GPU went away.")
        if self.reads and read:
            self.reads -= 1
        return value

    def read(self, buffer, nbytes, offset=0):
        return self._later(bytes(buffer[offset : offset + nbytes]), read=True)


class Graveyard(Bench):
    """Devices with the given numbers of reads in them; the last one lives for ever."""

    def __init__(self, folder, lives) -> None:
        super().__init__(folder)
        self.lives = [*lives, None]
        self.opened: list[Mortal] = []

    async def open_device(self):
        self.device = Mortal(self.lives.pop(0))
        self.opened.append(self.device)
        return self.device


@pytest.fixture
def start(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)

    async def started(*lives):
        bench = Graveyard(tmp_path, lives)
        service = bench.service()
        await service.init("tiny")
        return bench, service

    return started


OPTIONS = {"max_tokens": 60, "repetition_penalty": 1.2}


@pytest.mark.parametrize("lives", [(1,), (3,), (2, 1, 4), (0, 2), tuple([1] * 20)])
async def test_the_stream_goes_on_and_its_text_is_the_same(start, lives):
    _, undisturbed = await start()
    wanted = await undisturbed.chat(HELLO, **OPTIONS)
    bench, service = await start(*lives)
    texts = [chunk.text async for chunk in await service.chat(HELLO, stream=True, **OPTIONS)]
    assert texts[-1] == wanted.text
    assert texts == sorted(texts, key=len), "nothing is told twice"
    reply = bench.last("generation-end")
    assert (reply["completion_tokens"], reply["finish_reason"]) == (60, "length")
    assert bench.names().count("generation-start") == bench.names().count("generation-end") == 1
    assert [detail.get("recovering") for name, detail in bench.heard if name == "ready"][1:] == [True] * sum(
        map(bool, lives)
    )
    assert "error" not in bench.names()
    assert all(not device.live for device in bench.opened[:-1]), "the ledger of a lost device is empty"
    assert service.status()["is_ready"]


async def test_penalties_know_what_was_answered_before(start):
    bench, service = await start(4)
    written = []
    write = Mortal.write

    def noted(self, buffer, data, offset=0):
        written.append((self, len(data), bytes(data)))
        write(self, buffer, data, offset)

    Mortal.write = noted
    try:
        await service.chat(HELLO, **OPTIONS)
    finally:
        Mortal.write = write
    vocab = 4 * service._loaded.model.config.vocab
    first, second = [data for _, length, data in written if length == vocab]
    counts = [memoryview(data).cast("I") for data in (first, second)]
    assert all(count in (0, 1 << 31) for count in counts[0])
    assert sum(count & 0xFFFF for count in counts[1]) > 0
    assert len(bench.opened) == 2


@pytest.mark.parametrize("lives", [[1] + [0] * 9], ids=["while loading"])
async def test_after_losses_without_a_token_between_it_gives_up(start, lives):
    bench, service = await start(*lives)
    with pytest.raises(DeviceLost):
        await service.chat(HELLO)
    assert len(bench.opened) <= MOST_LOSSES + 2
    assert service.status()["error"] == "The GPU went away."
    assert all(not device.live for device in bench.opened)
    bench.lives = [None]
    await service.init("tiny")
    assert (await service.chat(HELLO, max_tokens=3)).usage.completion_tokens == 3


async def test_a_queued_request_is_answered_by_the_model_that_came_back(start):
    _, service = await start(2)
    both = await asyncio.gather(*(service.chat(HELLO, max_tokens=20) for _ in range(2)))
    assert both[0].text == both[1].text


async def test_unload_while_the_device_comes_back_leaves_nothing(start):
    bench, service = await start(2)
    running = asyncio.ensure_future(service.chat(HELLO, max_tokens=1000))
    coming = asyncio.Event()
    service.on("loading", lambda detail: coming.set())
    await coming.wait()
    await service.unload()
    reply = await running
    assert reply.finish_reason == "interrupted"
    assert not any(device.live for device in bench.opened)
    with pytest.raises(NotReady):
        await service.chat(HELLO)


async def test_a_device_lost_between_two_models_is_replaced(start):
    bench, service = await start(None, None)
    bench.device.reads = 0
    await service.init("tiny", context_size=64)
    assert len(bench.opened) == 2
    assert service.status()["is_ready"]


async def test_devices_that_die_before_the_first_token_end_in_an_error(start):
    bench, service = await start(*[None] * 9)
    bench.device.reads = 0
    service.on("ready", lambda detail: setattr(bench.device, "reads", 0))
    with pytest.raises(DeviceLost):
        await service.chat(HELLO)
    assert len(bench.opened) == MOST_LOSSES + 1
    assert bench.names()[-1] == "error"
    assert not any(device.live for device in bench.opened)


@pytest.mark.parametrize("refusals", [1, 4, 1000])
async def test_an_adapter_that_is_not_back_at_once_is_asked_for_again(start, monkeypatch, refusals):
    bench, service = await start(2)
    pauses: list[float] = []
    opened, sleep = bench.open_device, asyncio.sleep

    async def pause(seconds):
        pauses.extend([seconds] * bool(seconds))
        await sleep(0)

    async def open_device():
        if len(pauses) < refusals:
            raise WebGPUUnavailable("There is no adapter.")
        return await opened()

    service._host = replace(service._host, open_device=open_device)
    monkeypatch.setattr(reopening.asyncio, "sleep", pause)
    if refusals < len(reopening.PAUSES):
        assert (await service.chat(HELLO, max_tokens=9)).usage.completion_tokens == 9
        assert pauses == list(reopening.PAUSES[:refusals])
    else:
        with pytest.raises(WebGPUUnavailable):
            await service.chat(HELLO, max_tokens=9)
        assert pauses == list(reopening.PAUSES)


async def test_the_first_device_is_not_waited_for(start, monkeypatch):
    bench, _ = await start()
    monkeypatch.setattr(reopening, "PAUSES", (1000.0,))
    bench.no_gpu = WebGPUUnavailable("There is no adapter.")
    service = bench.service()
    service._host = replace(service._host, open_device=lambda: Bench.open_device(bench))
    with pytest.raises(WebGPUUnavailable):
        await service.init("tiny")


async def test_a_waiting_request_that_another_model_sends_away_does_not_spoil_its_load(start):
    _, service = await start()
    running, waiting = (asyncio.ensure_future(service.chat(HELLO, max_tokens=2000)) for _ in range(2))
    begun = asyncio.Event()
    service.on("generation-start", lambda detail: begun.set())
    await begun.wait()
    phases = []
    service.on("error", lambda detail: phases.append(service.state.phase))
    await service.init("tiny", context_size=64)
    assert (await running).finish_reason == "interrupted"
    with pytest.raises(NotReady):
        await waiting
    assert phases == ["loading"]
    assert (service.status()["is_ready"], service.status()["error"]) == (True, None)


async def test_a_switch_while_the_device_comes_back_is_a_load_to_its_end(start):
    bench, service = await start(1)
    write_tiny_gguf(bench.folder / "other.gguf", 2)
    heard, back = [], asyncio.Event()
    service.on("progress", lambda detail: heard.append(service.status()["is_loading"]))
    service.on("loading", lambda detail: back.set() if detail.get("recovering") else None)
    service.on("unloaded", lambda detail: heard.clear())
    stream = asyncio.ensure_future(service.chat(HELLO, **OPTIONS))
    await back.wait()
    await service.init("other")
    await asyncio.wait([stream])
    assert service.status()["model"] == "other"
    assert len(heard) > 3
    assert all(heard[:-1])  # the last one says that it is ready
