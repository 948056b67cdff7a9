"""What tests of tuning stand on: a device whose times are written down here, and starts of a page over it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from local_llm import choosing, soundness
from local_llm.errors import DeviceLost
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench

GPU = replace(CAPS, software=False, features=frozenset({"timestamp-query"}))
MICRO = 1e-6


class Pipeline(str):
    """An entry point that knows its constants, whether its products are of bytes, and of bytes that were left."""

    constants: dict
    rounds: bool
    takes_left: bool
    leaves: bool


class Watched(RecordingDevice):
    """A GPU on which a dispatch takes what `takes(entry, constants)` says, in µs; a counter of timings.

    byte_pace: how many times as long products of bytes take, by the names of entry points; 1 where there is none.
    left_pace: how many times as long as others of bytes those take whose inputs were left so, leaving_pace: how many
    times as long as others those take that leave something.
    """

    def __init__(self, caps=GPU):
        super().__init__(caps)
        self.takes = lambda entry, constants: 100.0
        self.byte_pace = {}
        self.left_pace, self.leaving_pace = 1.0, 1.0
        self.timings = 0
        self.began = asyncio.Event()
        self.lost_after = 10**9
        self.spent = 0.0
        self.longest = 0.0  # measurement, in seconds

    async def create_pipeline(self, code, entry, bindings, constants):
        made = Pipeline(await super().create_pipeline(code, entry, bindings, constants))
        made.constants = dict(constants)
        made.rounds = "dot4I8Packed" in code
        made.takes_left, made.leaves = "fn left_block" in code, "fn four_leaving" in code
        return made

    def _seconds(self, recorded, times):
        return times * MICRO * sum(self._takes(one.pipeline) for one in recorded)

    def _takes(self, pipeline):
        pace = self.byte_pace.get(str(pipeline), 1.0) if pipeline.rounds else 1.0
        pace *= (self.left_pace if pipeline.takes_left else 1.0) * (self.leaving_pace if pipeline.leaves else 1.0)
        return pace * self.takes(str(pipeline), pipeline.constants)

    async def timed(self, recorded, times=1):
        self.timings += 1
        self.began.set()
        if self.timings > self.lost_after:
            self.timings = 0
            raise DeviceLost("It hung.")
        await asyncio.sleep(0)
        took = self._seconds(recorded, times)
        self.spent, self.longest = self.spent + took, max(self.longest, took)
        return took

    def copied(self, source, target, nbytes, times):
        raise AssertionError

    def submit(self, recorded, times=1):
        super().submit(recorded, times)
        if all(hasattr(one.pipeline, "constants") for one in recorded):
            self.spent += self._seconds(recorded, times)


class Page(Bench):
    """wrong(names): what the self-test finds."""

    def __init__(self, folder):
        super().__init__(folder)
        self.device = Watched()
        self.wrong = lambda names: []


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A start of the page: what runtime_info tells of tuning, and the variants that run."""
    for number, name in enumerate(("tiny", "other")):
        write_tiny_gguf(tmp_path / f"{name}.gguf", number + 1, ffn=96 + 32 * number)
    bench = Page(tmp_path)

    async def wrong_kernels(model, counts, names):
        return bench.wrong(list(names))

    async def started(model="tiny", **options):
        bench.device.timings = 0
        service = bench.service()
        await service.init(model, **options)
        model, info = service._require().model, await service.runtime_info()
        assert sum(map(len, bench.device.live)) == info["gpu_bytes"], "scratch is left behind"
        await service.unload()
        return info["tuning"], dict(model.shared.choices)

    monkeypatch.setattr(soundness, "wrong_kernels", wrong_kernels)
    return started, bench


def facts_in(shelf):
    """Of the adapter that was written last."""
    return json.loads(shelf.texts[choosing.KEY])["notes"][0][1]


def wide(entry, constants):
    """Teams of 32 lanes win on this one; no rule takes them for matrices so small."""
    return 50.0 if constants.get("LANES") == 32 else 100.0
