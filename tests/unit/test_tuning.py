"""Which variants are chosen, by a device whose times are written down here, and what is remembered of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from local_llm import choosing, soundness
from local_llm.errors import DeviceLost, GPUFault, InvalidRequest, NotReady, OutOfMemory
from local_llm.models.tuning import products, tune
from local_llm.ops.variants import Shape, candidates
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench

GPU = replace(CAPS, software=False, features=frozenset({"timestamp-query"}))
MICRO = 1e-6


class Pipeline(str):
    """An entry point that knows its constants."""

    constants: dict


class Watched(RecordingDevice):
    """A GPU on which a dispatch takes what `takes(entry, constants)` says, in µs; a counter of timings."""

    def __init__(self, caps=GPU):
        super().__init__(caps)
        self.takes = lambda entry, constants: 100.0
        self.timings = 0
        self.began = asyncio.Event()
        self.lost_after = 10**9
        self.spent = 0.0
        self.longest = 0.0  # measurement, in seconds

    async def create_pipeline(self, code, entry, bindings, constants):
        made = Pipeline(await super().create_pipeline(code, entry, bindings, constants))
        made.constants = dict(constants)
        return made

    def _seconds(self, recorded, times):
        return times * MICRO * sum(self.takes(str(one.pipeline), one.pipeline.constants) for one in recorded)

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


def wide(entry, constants):
    """Teams of 32 lanes win on this one; no rule takes them for matrices so small."""
    return 50.0 if constants.get("LANES") == 32 else 100.0


async def test_what_wins_runs_and_is_remembered(start):
    started, bench = start
    bench.device.takes = wide
    told, choices = await started()
    assert bench.device.timings > 0
    assert told["shapes"] == told["faster"] == len(choices) >= 4
    assert all(each.constants["LANES"] == 32 for each in choices.values())
    assert told["gain"] == pytest.approx(0.5)
    assert told["seconds"] > 0
    bench.device.takes = lambda entry, constants: 100.0  # a noisy day: nobody asks again
    again, same = await started()
    assert bench.device.timings == 0
    assert same == choices
    assert again == {**told, "seconds": 0.0}


async def test_pipelines_of_the_engine_are_those_that_were_chosen(start):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    bench.device.submits.clear()
    service = bench.service()
    await service.init("tiny")
    steps = service._require().engine._steps[1, 0]
    lanes = {one.pipeline.constants["LANES"] for one in steps if one.pipeline.startswith("matvec")}
    assert lanes == {32}
    assert choices == service._require().model.shared.choices


@pytest.mark.parametrize(("saved", "faster"), [(2.0, False), (4.0, True)])
async def test_a_small_gain_is_none(start, saved, faster):
    started, bench = start
    bench.device.takes = lambda entry, constants: 100.0 - saved * (constants.get("LANES") == 32)
    told, choices = await started()
    assert bool(choices) == faster == (told["gain"] > 0)


@pytest.mark.parametrize("pace", [1.004, 0.99])
async def test_a_gpu_that_changes_its_pace_meanwhile_fools_nobody(start, pace):
    started, bench = start
    bench.device.takes = lambda entry, constants: 100.0 * pace**bench.device.timings
    assert (await started())[1] == {}


async def test_lucky_measurements_are_not_enough(start):
    started, bench = start
    luck = np.random.default_rng(1).random(1000) < 0.25

    def takes(entry, constants):
        return (60.0 if luck[bench.device.timings] else 100.0) - 2 * (constants.get("LANES") == 32)

    bench.device.takes = takes
    assert (await started())[1] == {}


async def test_a_clock_that_stands_still_means_the_rules(start):
    started, bench = start
    bench.device.takes = lambda entry, constants: 0.0
    told, choices = await started()
    assert (told["shapes"], choices) == (0, {})
    assert bench.device.timings < 100


async def test_a_candidate_that_does_not_compile_leaves_its_shapes_to_the_rule(start):
    started, bench = start
    bench.device.takes = wide
    compile = bench.device.create_pipeline

    async def refuse(code, entry, bindings, constants):
        if entry == "matvec_glu" and constants["LANES"] == 8:
            raise GPUFault("It is too small.")
        return await compile(code, entry, bindings, constants)

    bench.device.create_pipeline = refuse
    told, choices = await started()
    assert {shape.kernel for shape in choices} == {"matvec"}
    assert told["shapes"] == len(choices) > 1


async def test_slow_products_are_timed_by_fewer_calls(start):
    _, bench = start
    service = bench.service()
    await service.init("tiny", tune="off")
    model = service._require().model
    slow = 3000.0
    bench.device.takes = lambda entry, constants: slow / 2 if constants["LANES"] == 32 else slow
    bench.device.longest = 0.0
    shapes = list(products(model))
    found = await tune(model, shapes, lambda: bench.device.spent, 1e9)
    for shape in shapes:
        assert found[shape].before == pytest.approx(slow * MICRO * len(products(model)[shape]))
        assert found[shape].after == pytest.approx(found[shape].before / 2)
    assert bench.device.longest == pytest.approx(2 * slow * MICRO)


async def test_only_new_shapes_are_timed(start):
    started, bench = start
    bench.device.takes = wide
    first, choices = await started()
    told, others = await started("other")
    assert bench.device.timings > 0
    common = choices.keys() & others.keys()
    assert common
    assert {shape: others[shape] for shape in common} == {shape: choices[shape] for shape in common}
    kept = json.loads(bench.shelf.texts[choosing.KEY])["facts"]["choices"]
    assert len(kept) == first["shapes"] + told["shapes"] - len(common)
    assert await started("tiny") == ({**first, "seconds": 0.0}, choices)


async def test_another_adapter_is_timed_anew(start):
    started, bench = start
    await started()
    bench.device = Watched(replace(GPU, driver="another"))
    await started()
    assert bench.device.timings > 0


DAMAGED = ["{", "[]", '{"adapter": 1}', "rubbish"]


@pytest.mark.parametrize("kept", [*DAMAGED, "constants", "before", "nan", "choices"])
async def test_a_damaged_note_means_the_rules_and_another_test_next_time(start, kept):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    note = json.loads(bench.shelf.texts[choosing.KEY])
    if kept == "constants":
        note["facts"]["choices"][0]["variant"]["constants"]["LANES"] = 1 << 20
    elif kept == "before":
        del note["facts"]["choices"][0]["before"]
    elif kept == "nan":
        note["facts"]["choices"][0]["after"] = float("nan")
    elif kept == "choices":
        note["facts"]["choices"] = 7
    bench.shelf.texts[choosing.KEY] = kept if kept in DAMAGED else json.dumps(note)
    assert await started() == (None, {})
    assert bench.device.timings == 0
    assert (await started())[1] == choices


async def test_a_store_that_forgets_means_the_rules(start, monkeypatch):
    started, bench = start
    bench.device.takes = wide

    async def forget(key, text):
        pass

    monkeypatch.setattr(bench.shelf, "set", forget)
    told, choices = await started()
    assert (told["shapes"], choices, bench.device.timings) == (0, {}, 0)


async def test_a_wrong_variant_is_dropped_and_nothing_else(start):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    bench.shelf.texts.clear()
    bench.wrong = lambda names: [name for name in names if name.startswith("matvec_glu") and "LANES=32" in name]
    told, left = await started()
    assert 0 < len(left) == told["faster"] < len(choices)
    assert left == {shape: one for shape, one in choices.items() if shape.kernel != "matvec_glu"}
    assert (await started())[1] == left
    assert bench.last("ready")
    assert "kernels-replaced" not in bench.names()


async def test_a_remembered_variant_that_turns_out_wrong_is_dropped_too(start):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    bench.shelf.texts.pop(soundness.KEY)
    bench.wrong = lambda names: [name for name in names if name.startswith("matvec_glu") and "LANES=32" in name]
    told, left = await started()
    assert left == {shape: one for shape, one in choices.items() if shape.kernel != "matvec_glu"} != choices
    assert told["faster"] == len(left)
    assert bench.device.timings == 0
    assert "kernels-replaced" not in bench.names()


async def test_where_the_rules_are_wrong_too_plain_kernels_run_and_nothing_is_timed(start):
    started, bench = start
    bench.wrong = lambda names: [name for name in names if name.startswith("matvec_glu")]
    assert await started() == (None, {})
    assert bench.device.timings == 0
    assert bench.last("kernels-replaced")["kernels"]


async def test_without_room_for_a_test_the_rules_run(start):
    started, bench = start
    bench.device.takes = wide

    def full(names):
        raise OutOfMemory("No more.")

    bench.wrong = full
    told, choices = await started()
    assert (choices, told["faster"], told["gain"]) == ({}, 0, 0.0)


async def test_what_hangs_the_gpu_is_tried_twice(start):
    started, bench = start
    bench.device.lost_after = 3
    told, choices = await started()
    assert (told["shapes"], choices) == (0, {})
    tries = json.loads(bench.shelf.texts[choosing.KEY])["facts"]["tries"]
    assert tries == choosing.MOST_TRIES
    await started()
    assert bench.device.timings == 0


async def test_a_stopped_load_is_no_try(start):
    started, bench = start
    service = bench.service()
    loading = asyncio.ensure_future(service.init("tiny"))
    await bench.device.began.wait()
    await service.unload()
    with suppress(NotReady):
        await loading
    assert json.loads(bench.shelf.texts[choosing.KEY])["facts"]["tries"] == 0
    assert bench.device.live == []
    bench.device.takes = wide
    assert (await started())[1]


async def test_off_and_software_adapters(start):
    started, bench = start
    bench.device.takes = wide
    assert await started(tune="off") == (None, {})
    with pytest.raises(InvalidRequest, match="auto, off"):
        await started(tune="always")
    await started()
    assert await started(tune="off") == (None, {})
    bench.device = Watched(replace(GPU, software=True))
    assert await started() == (None, {})
    assert bench.device.timings == 0


async def test_by_the_hosts_clock_where_there_are_no_timestamps(start, monkeypatch):
    started, bench = start
    bench.device = Watched(replace(GPU, features=frozenset()))
    bench.device.takes = wide
    monkeypatch.setattr(bench, "clock", lambda: bench.device.spent)
    _, choices = await started()
    assert bench.device.timings == 0
    assert choices
    assert all(each.constants["LANES"] == 32 for each in choices.values())


async def test_nothing_of_the_model_is_written(start):
    _, bench = start
    service = bench.service()
    await service.init("tiny", tune="off")
    model = service._require().model
    held = {id(buffer) for buffer in bench.device.live}
    bound = []
    bench.device.bind = lambda pipeline, buffers: bound.append((pipeline, [id(buffer) for buffer in buffers]))
    await tune(model, list(products(model)), lambda: bench.device.spent, 1.0)
    output = {"matvec": 5, "matvec_glu": 4}
    assert {str(pipeline) for pipeline, _ in bound} == set(output)
    for pipeline, buffers in bound:
        assert buffers[output[pipeline]] not in held
        assert buffers[0] in held, "of the model's own weights"


async def test_time_is_limited_and_what_costs_most_comes_first(start):
    _, bench = start
    service = bench.service()
    await service.init("tiny", tune="off")
    model = service._require().model
    bench.device.takes = wide
    told = []
    shapes = list(products(model))
    found = await tune(model, shapes, lambda: bench.device.spent, 0.05, lambda *count: told.append(count))
    assert list(found) == shapes
    timed = [shape for shape in shapes if found[shape].before]
    assert timed == shapes[: len(timed)] != shapes
    assert all(found[shape].variant == candidates(GPU, shape)[0] for shape in shapes if shape not in timed)
    assert told == [(done, len(shapes)) for done in range(len(shapes))]
    largest = max(shapes, key=lambda shape: shape.rows * shape.cols * len(products(model)[shape]))
    assert shapes[0] == largest != Shape("", "", 0, 0)


async def test_progress_tells(start):
    started, bench = start
    await started()
    texts = [detail["text"] for name, detail in bench.heard if name == "progress"]
    assert any(text.startswith("Tuning kernels, ") for text in texts)
