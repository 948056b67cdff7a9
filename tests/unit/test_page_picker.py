"""What the page shows of loads: by a real service, over a page that is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from local_llm.page.picker import Picker
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench

BEGIN: Any = asyncio.ensure_future


class Shown:
    """A View that keeps what it showed last, and all phases."""

    def __init__(self):
        self.texts, self.phases = {}, []

    def set_text(self, part, text):
        self.texts[part] = text

    def set_phase(self, phase):
        self.phases.append(phase)

    def __getattr__(self, name):
        return lambda *arguments: None


@pytest.fixture
def rig(tmp_path):
    for number, name in enumerate(("tiny", "other")):
        write_tiny_gguf(tmp_path / f"{name}.gguf", number)
    bench, view, told = Bench(tmp_path), Shown(), []
    service = bench.service()
    anyone: Any = view
    picker = Picker(service, anyone, BEGIN, told.append, "tiny")
    picker.start()
    return picker, view, service, told, bench


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


def held(bench):
    """Opening a file waits for the event that this returns."""
    gate, opened = asyncio.Event(), bench.open_blobs

    async def later(source):
        await gate.wait()
        return await opened(source)

    bench.open_blobs = later
    return gate


async def test_a_switch_is_a_load_from_its_beginning_to_its_end(rig):
    picker, view, service, told, _ = rig
    assert view.phases == ["idle"]
    assert await picker.load()
    await service.switch_model("other")
    assert view.phases == ["idle", "loading", "loading"]  # the page itself says "ready"
    await service.unload()
    assert view.phases[-1] == "idle"
    assert view.texts["model"] == "tiny"  # what the next message would load
    assert told == []


async def test_what_cannot_be_begun_is_told_and_not_chosen(rig):
    picker, view, service, told, _ = rig
    await picker.load()
    picker._take("qwne")
    await settled()
    assert "qwne" in told[0].message
    assert service.status()["is_ready"]
    await service.unload()
    assert await picker.load()
    assert service.status()["model"] == "tiny"
    assert view.texts["model"] == "tiny"


async def test_another_file_while_one_loads_is_told_and_retry_means_the_first(tmp_path, rig):
    _, _, _, _, bench = rig
    gate = held(bench)
    service, told = bench.service(), []
    anyone: Any = Shown()
    picker = Picker(service, anyone, BEGIN, told.append, "tiny")
    loading = asyncio.ensure_future(picker.load())
    await settled()
    picker._take("other.gguf")
    await settled()
    assert [type(error).__name__ for error in told] == ["Busy"]
    gate.set()
    assert await loading
    await service.unload()
    await service.retry()
    assert service.status()["model"] == "tiny"


async def test_errors_of_others_while_it_loads_do_not_end_the_load(rig):
    _, _, _, _, bench = rig
    gate = held(bench)
    service, view = bench.service(), Shown()
    anyone: Any = view
    picker = Picker(service, anyone, BEGIN, lambda error: None, "tiny")
    picker.start()
    loading = asyncio.ensure_future(picker.load())
    await settled()
    service._events.emit("error", name="Busy", message="Another thing failed.", remedy="Wait.")
    assert view.phases[-1] == "loading"
    assert service.status()["is_loading"]
    gate.set()
    assert await loading
