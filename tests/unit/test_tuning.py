"""Which variants are chosen, by a device whose times are written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from local_llm.errors import GPUFault, InvalidRequest, OutOfMemory
from local_llm.models.tuning import products, tune
from local_llm.ops.variants import Shape, candidates
from tests.unit.tuning_rig import GPU, MICRO, Watched, start, wide

__all__ = ["start"]  # a fixture


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


@pytest.mark.parametrize(("refused", "faster"), [(8, {"matvec", "matvec_glu"}), (32, {"matvec"})])
async def test_a_candidate_that_does_not_compile_is_none(start, refused, faster):
    started, bench = start
    bench.device.takes = wide
    compile = bench.device.create_pipeline

    async def refuse(code, entry, bindings, constants):
        if entry == "matvec_glu" and constants["LANES"] == refused:
            raise GPUFault("It is too small.")
        return await compile(code, entry, bindings, constants)

    bench.device.create_pipeline = refuse
    told, choices = await started()
    assert {shape.kernel for shape in choices} == faster
    assert told["shapes"] > len(faster)


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
