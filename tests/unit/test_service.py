"""The whole service on a device that plays the kernels' part: catalogue, events, status, kept settings, memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from local_llm.errors import (
    Busy,
    InvalidRequest,
    LocalLLMError,
    NotReady,
    OutOfMemory,
    UnknownModel,
    WebGPUUnavailable,
)
from local_llm.events import NAMES
from local_llm.performance import REFUSAL
from local_llm.reply import Reply
from local_llm.widget.snapshot import read_snapshot
from local_llm.widget.status import widget_status
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def bench(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    write_tiny_gguf(tmp_path / "other.gguf", 2, types="Q8_0")
    return Bench(tmp_path)


async def test_without_a_name_the_catalogues_first_is_loaded(bench):
    service = bench.service()
    await service.init()
    assert service.status()["model"] == "tiny"
    assert [model["loaded"] for model in service.available_models()] == [False, True, False, False]
    assert [model["supported"] for model in service.available_models()] == [False, True, True, True]


async def test_the_choice_is_restored(bench):
    first = bench.service()
    await first.init("other", context_size=64)
    await first.close()
    again = bench.service()
    await again.init()
    assert again.status()["model"] == "other"
    assert (await again.runtime_info())["context_size"] == 64
    await again.init("tiny")
    assert (await again.runtime_info())["context_size"] == 256


async def test_progress_goes_up_from_above_nothing_to_one(bench):
    await bench.service().init("tiny")
    shares = [detail["progress"] for name, detail in bench.heard if name == "progress"]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)
    assert shares[-1] == 1.0
    texts = {detail["text"] for name, detail in bench.heard if name == "progress"}
    assert {"Loading weights", "Ready"} <= texts
    assert bench.names() == ["loading", "ready"]


async def test_the_status_is_in_step_at_every_event(bench):
    service = bench.service()
    seen: list[tuple[str, str]] = []
    for name in NAMES:
        service.on(
            name, lambda detail, name=name: seen.append((name, widget_status(read_snapshot(service.status()))["state"]))
        )
    await service.init("tiny")
    await service.chat(HELLO, max_tokens=3)
    await service.unload()
    with pytest.raises(LocalLLMError):
        await service.init("gone")
    wanted = {
        "loading": {"loading"},
        "progress": {"loading", "idle"},
        "ready": {"idle"},
        "generation-start": {"active"},
        "token": {"active"},
        "generation-end": {"idle"},
        "unloaded": {"disabled"},
        "error": {"error"},
    }
    assert {name for name, _ in seen} == set(wanted)
    for name, state in seen:
        assert state in wanted[name], (name, state)


async def test_switching_frees_before_it_allocates(bench):
    service = bench.service()
    await service.init("tiny")
    held = len(bench.device.live)
    floor: list[int] = []
    service.on("unloaded", lambda detail: floor.append(len(bench.device.live)))
    await service.switch_model("other")
    assert held > 0
    assert floor == [0]
    assert service.status()["model"] == "other"
    await service.unload()
    assert bench.device.live == []
    assert service.status()["gpu_bytes"] == 0


async def test_an_unknown_name_costs_nothing(bench):
    service = bench.service()
    with pytest.raises(UnknownModel) as caught:
        await service.init("othr")
    assert "other" in caught.value.remedy
    assert service.status()["error"]
    await service.init("tiny")
    with pytest.raises(UnknownModel):
        await service.switch_model("othr")
    assert (service.status()["model"], service.status()["error"]) == ("tiny", None)


async def test_a_failed_load_says_why_and_can_be_tried_again(bench):
    service = bench.service()
    with pytest.raises(LocalLLMError):
        await service.init("gone")
    status = service.status()
    assert "gone.gguf" in status["error"]
    assert bench.device.live == []
    assert bench.last("error")["message"] == status["error"]
    assert bench.last("error")["name"]
    write_tiny_gguf(bench.folder / "gone.gguf", 3)
    await service.retry()
    assert (service.status()["model"], service.status()["error"], service.status()["remedy"]) == ("gone", None, "")


async def test_no_gpu_is_told_with_its_remedy(bench):
    bench.no_gpu = WebGPUUnavailable("No adapter.", remedy="Buy one.")
    service = bench.service()
    assert await service.check_webgpu() == {
        "available": False,
        "error": "No adapter.",
        "remedy": "Buy one.",
        "cause": "WebGPUUnavailable",
    }
    assert bench.last("error") == {"name": "WebGPUUnavailable", "message": "No adapter.", "remedy": "Buy one."}
    assert service.status()["error"] is None
    with pytest.raises(WebGPUUnavailable):
        await service.init("tiny")
    assert (service.status()["error"], service.status()["remedy"]) == ("No adapter.", "Buy one.")
    bench.no_gpu = None
    found = await service.check_webgpu()
    assert (found["available"], found["adapter"], found["software_adapter"]) == (True, "recording", True)
    assert found["limits"]["max_binding_bytes"] == bench.device.caps.max_binding_bytes


async def test_a_reply_is_measured(bench):
    service = bench.service()
    await service.init("tiny")
    reply = await service.chat(HELLO, max_tokens=5)
    end = bench.last("generation-end")
    assert (end["completion_tokens"], end["finish_reason"]) == (5, "length")
    assert end["prompt_tokens"] == reply.usage.prompt_tokens
    assert end["time_to_first_token"] > 0
    status = service.status()
    assert (status["statistics"]["generations"], status["statistics"]["tokens"]) == (1, 5)
    assert status["statistics"]["speeds"] == [end["tokens_per_second"]]
    assert status["last_activity"] > 1_700_000_000_000
    report = (await service.runtime_info())["performance"]
    assert report["counters"]["completion_tokens"] == 5
    assert report["load_seconds"]["count"] == 1
    assert report["prefill_tokens_per_second"]["last"] > 0
    again = await service.chat(HELLO, max_tokens=1)
    assert again.usage.cached_tokens > 0
    assert (await service.runtime_info())["performance"]["counters"]["cached_tokens"] == again.usage.cached_tokens


async def test_measurements_are_kept_across_visits(bench):
    first = bench.service()
    await first.init("other")
    await first.chat(HELLO, max_tokens=5)
    await first.chat(HELLO, max_tokens=5)
    quantization = (await first.runtime_info())["quantization"]
    await first.close()
    (kept,) = await bench.service().analytics()
    assert (kept["model"], kept["generations"], kept["tokens"]) == ("other", 2, 10)
    assert kept["tokens_per_second"] > 0
    assert kept["bits_per_weight"] == pytest.approx(quantization["bits_per_weight"], abs=1e-3)
    assert 8.5 <= kept["bits_per_weight"] < 32
    assert {kind["type"] for kind in kept["tensor_types"]} == {"Q8_0", "F32"}
    assert sum(kind["bytes"] for kind in kept["tensor_types"]) == quantization["nbytes"]
    assert kept["file_bytes"] > quantization["nbytes"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.0, "repetition_penalty": 1.2},
        {"temperature": 0.0, "top_p": 0.5, "presence_penalty": 1.0},
    ],
)
async def test_every_kind_of_sampling_has_its_kernels(bench, options):
    service = bench.service()
    await service.init("tiny")
    assert (await service.chat(HELLO, max_tokens=3, **options)).usage.completion_tokens == 3


async def test_options_are_kept_and_a_call_may_say_otherwise(bench):
    service = bench.service()
    await service.init("tiny")
    assert await service.set_options({"max_tokens": 2}) == {"max_tokens": 2}
    assert (await service.chat(HELLO)).usage.completion_tokens == 2
    assert (await service.chat(HELLO, max_tokens=3)).usage.completion_tokens == 3
    assert (await service.complete("Hello")).usage.completion_tokens == 2
    assert await bench.service().get_options() == {"max_tokens": 2}
    with pytest.raises(InvalidRequest):
        await service.set_options({"max_tokens": 0})
    assert await service.get_options() == {"max_tokens": 2}


async def test_a_budget_warns(bench):
    service = bench.service()
    await service.init("tiny")
    assert "memory-warning" not in bench.names()
    held = service.status()["gpu_bytes"]
    await service.set_memory_budget(held + 1)
    assert bench.last("memory-warning")["gpu_bytes"] == held
    assert service.status()["gpu_limit"]["bytes"] == held + 1
    bench.heard.clear()
    again = bench.service()
    await again.init("tiny")  # the budget is kept
    assert bench.last("memory-warning")["limit_bytes"] == held + 1
    with pytest.raises(InvalidRequest):
        await service.set_memory_budget(0)


async def test_a_refused_allocation_is_remembered_as_a_limit(bench):
    service = bench.service()
    create = bench.device.create_buffer

    def full(nbytes, label):
        if label == "rope":
            raise OutOfMemory("No more.")
        return create(nbytes, label)

    bench.device.create_buffer = full
    with pytest.raises(OutOfMemory):
        await service.init("tiny")
    assert bench.device.live == []
    limit = service.status()["gpu_limit"]
    assert limit["source"] == REFUSAL
    assert limit["bytes"] > 0
    assert (await service.runtime_info())["gpu_limit_source"] == REFUSAL


async def test_without_a_known_limit_the_info_says_so(bench):
    assert "WebGPU does not say" in (await bench.service().runtime_info())["gpu_limit_source"]


async def test_a_listener_that_fails_ends_nothing(bench, caplog):
    service = bench.service()
    service.on("ready", lambda detail: 1 / 0)
    await service.init("tiny")
    assert service.status()["is_ready"]
    assert "ready" in caplog.text


async def test_a_catalogue_is_read_from_its_address(bench):
    (bench.folder / "list.json").write_text(json.dumps({"models": [{"url": "mine.gguf"}]}))
    service = bench.service()
    assert await service.load_catalog("list.json") == ["mine"]
    assert service.available_models()[0]["id"] == "mine"
    assert service.catalog.get("tiny") is not None
    (bench.folder / "bad.json").write_text("<html>")
    with pytest.raises(InvalidRequest):
        await service.load_catalog("bad.json")


async def test_before_init(bench):
    service = bench.service()
    with pytest.raises(NotReady):
        await service.chat(HELLO)
    service.interrupt()
    await service.unload()
    assert bench.heard == []


async def test_one_load_at_a_time(bench):
    service = bench.service()
    await service.settings.restore()
    one, two = asyncio.ensure_future(service.init("tiny")), asyncio.ensure_future(service.init("tiny"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await service.init("other")
    await asyncio.gather(one, two)
    assert bench.names() == ["loading", "ready"]


async def test_unloading_stops_a_load(bench):
    service = bench.service()
    stops = []

    def weights_arrive(detail):
        if detail["loaded_bytes"] and not stops:
            stops.append(asyncio.ensure_future(service.unload()))

    service.on("progress", weights_arrive)
    with pytest.raises(NotReady):
        await service.init("tiny")
    await stops[0]
    assert bench.device.live == []
    assert widget_status(read_snapshot(service.status()))["state"] == "disabled"
    assert bench.names() == ["loading", "unloaded"]
    await service.init("tiny")
    assert service.status()["is_ready"]


async def test_a_caller_that_gives_up_does_not_stop_the_load(bench):
    service = bench.service()
    await service.settings.restore()
    caller = asyncio.ensure_future(service.init("tiny"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert service.status()["is_loading"]
    await service.init("tiny")
    assert bench.names() == ["loading", "ready"]


def take_time(bench) -> None:
    """Reads of the GPU let others run, as real ones do."""
    read = bench.device.read

    async def slow(*words):
        await asyncio.sleep(0)
        return await read(*words)

    bench.device.read = slow


async def test_a_waiting_request_that_is_cancelled_leaves_the_queue_and_the_running_one_alone(bench):
    service = bench.service()
    take_time(bench)
    await service.init("tiny")
    calm = await service.chat(HELLO, max_tokens=60)
    tasks = [asyncio.ensure_future(service.chat(HELLO, max_tokens=60)) for _ in range(3)]
    service.on("token", lambda detail: tasks[1].cancel())
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, asyncio.CancelledError)
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert isinstance(calm, Reply)
    assert first.token_ids == third.token_ids == calm.token_ids
    assert bench.names().count("generation-start") == 3


async def test_unloading_stops_the_running_request_and_sends_the_waiting_ones_away(bench):
    service = bench.service()
    take_time(bench)
    await service.init("tiny")
    tasks = [asyncio.ensure_future(service.chat(HELLO, max_tokens=200, ignore_eos=True)) for _ in range(2)]
    unloads = []
    service.on("token", lambda detail: unloads or unloads.append(asyncio.ensure_future(service.unload())))
    running, waiting = await asyncio.gather(*tasks, return_exceptions=True)
    await unloads[0]
    assert isinstance(running, Reply)
    assert running.finish_reason == "interrupted"
    assert isinstance(waiting, NotReady)
    assert bench.device.live == []
    assert bench.names().count("generation-start") == 1


async def test_an_interruption_at_the_very_start_counts(bench):
    service = bench.service()
    await service.init("tiny")
    off = service.on("generation-start", lambda detail: service.interrupt())
    reply = await service.chat(HELLO, max_tokens=60)
    off()
    assert isinstance(reply, Reply)
    assert (reply.finish_reason, reply.token_ids) == ("interrupted", ())
    service.interrupt()  # nothing runs: the next answer is whole
    again = await service.chat(HELLO, max_tokens=60)
    assert isinstance(again, Reply)
    assert again.usage.completion_tokens > 0
    assert again.finish_reason != "interrupted"
