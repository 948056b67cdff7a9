"""Whether products round their inputs on this adapter, by a device whose times are written down."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from local_llm import choosing
from local_llm.gpu.ports import PACKED_DOT
from local_llm.models.model import exact
from local_llm.models.proof import steps
from local_llm.models.tuning import PROMPT, _lines, chosen, live, prompts, tune
from local_llm.ops import variants
from local_llm.ops.variants import EXACT, Shape, candidates
from tests.model.tiny import write_tiny_gguf
from tests.unit.tuning_rig import GPU, Pipeline, Watched, start, wide

__all__ = ["start"]  # a fixture
SLOW, FAST = (dict.fromkeys(("matvec", "matvec_glu", "matmul_int8"), pace) for pace in (3.0, 0.3))


@pytest.fixture
def visit(start, monkeypatch):
    """A start with a model whose products may round their inputs: what is told, the variants, the kernels that run."""
    _, bench = start
    monkeypatch.setattr(variants, "LEAST_INT8_COLS", 32)
    monkeypatch.setattr(choosing, "SECONDS", 1e9)
    write_tiny_gguf(bench.folder / "tiny.gguf", 1, types="Q4_0", context=256)
    bench.device = Watched(replace(GPU, features=GPU.features | {PACKED_DOT}))
    bench.device.takes = lambda entry, constants: 0.01 if entry == "round_rows" else 100.0

    async def visited(**options):
        bench.device.timings = 0
        service = bench.service()
        await service.init("tiny", **options)
        model, info = service._require().model, await service.runtime_info()
        kernels = {call.kernel for calls in steps(model, [128]) for call in calls}
        bench.model = model
        await service.unload()
        return info, dict(model.shared.choices), kernels

    return visited, bench


def kinds(kernels):
    names = {"byte_rows" if "byte_rows" in dict(one.includes).values() else one.name for one in kernels}
    return names & {"byte_rows", "matvec_glu", "matmul", "matmul_int8"}


async def test_where_rounding_is_slower_products_are_exact_and_nothing_is_held_for_it(visit):
    visited, bench = visit
    off, _, _ = await visited(int8="off")
    bench.shelf.texts.clear()
    bench.device.byte_pace = SLOW
    info, choices, kernels = await visited()
    assert kinds(kernels) == {"matvec_glu", "matmul"}
    assert not info["int8"]
    assert info["gpu_bytes"] == off["gpu_bytes"]
    assert 0.5 < info["tuning"]["gain"] < 2 / 3  # the output matrix is exact anyway
    again, same, _ = await visited()
    assert (same, again["int8"], bench.device.timings) == (choices, False, 0)


async def test_where_it_is_faster_it_stays(visit):
    visited, bench = visit
    bench.device.byte_pace = FAST
    info, choices, kernels = await visited()
    assert bench.device.timings > 0
    assert info["int8"]
    assert (choices, kinds(kernels)) == ({}, {"byte_rows", "matmul_int8"})


@pytest.mark.parametrize(("pace", "exact"), [(1.0, False), (1.02, False), (1.05, True)])
async def test_a_small_loss_is_none(visit, pace, exact):
    visited, bench = visit
    bench.device.byte_pace = dict.fromkeys(SLOW, pace)
    _, choices, _ = await visited()
    assert bool(choices) == exact


async def test_prompts_and_steps_of_one_token_are_apart(visit):
    visited, bench = visit
    bench.device.byte_pace = FAST | {"matmul_int8": 3.0}
    info, choices, kernels = await visited()
    assert {shape.kernel for shape in choices} == {"matmul"}
    assert all(one == EXACT for one in choices.values())
    assert kinds(kernels) == {"byte_rows", "matmul"}
    assert info["int8"]
    bench.shelf.texts.clear()
    bench.device.byte_pace = SLOW | {"matmul_int8": 0.3}
    info, choices, kernels = await visited()
    assert {shape.kernel for shape in choices} == {"matvec", "matvec_glu"}
    assert kinds(kernels) == {"matvec_glu", "matmul_int8"}
    assert info["int8"]


async def test_among_exact_products_the_fastest_is_found(visit):
    visited, bench = visit
    bench.device.byte_pace, bench.device.takes = SLOW, wide
    _, choices, kernels = await visited()
    single = [one for one in kernels if one.name.startswith("matvec")]
    assert kinds(kernels) == {"matvec_glu", "matmul"}
    assert {dict(one.constants)["LANES"] for one in single} == {32}
    assert len([shape for shape in choices if shape.kernel != "matmul"]) > 3


def includes(kernels, word):
    """Names of the kernels that include it."""
    return {one.name for one in kernels if word in dict(one.includes).values()}


async def test_inputs_are_left_rounded_where_that_is_faster(visit):
    visited, bench = visit
    bench.device.left_pace = 1.1
    _, choices, kernels = await visited(cache_bits=8)
    assert not choices
    assert not includes(kernels, "left_rows") | includes(kernels, "leaving_bytes")
    bench.shelf.texts.clear()
    bench.device.left_pace = 0.9
    _, choices, kernels = await visited(cache_bits=8)
    assert {(shape.rows, shape.cols) for shape, one in choices.items() if one.takes_left} == {
        (128, 64),  # q, k and v of the second layer
        (192, 64),
        (64, 96),
    }, "attention's output joins its parts"
    assert includes(kernels, "left_rows") == includes(kernels, "leaving_bytes") == {"matvec", "matvec_glu"}
    _, again, _ = await visited(cache_bits=8)
    assert (again, bench.device.timings) == (choices, 0)


async def test_what_leaving_costs_counts(visit):
    visited, bench = visit
    bench.device.left_pace, bench.device.leaving_pace = 0.9, 1.2
    info, choices, kernels = await visited(cache_bits=8)
    assert not choices
    assert not includes(kernels, "left_rows") | includes(kernels, "leaving_bytes")
    assert info["tuning"]["gain"] == 0
    bench.shelf.texts.clear()
    bench.device.leaving_pace = 1.01
    info, choices, kernels = await visited(cache_bits=8)
    assert [one for one in choices.values() if one.takes_left]
    assert 0.03 < info["tuning"]["gain"] < 0.1


def step_seconds(device, model):
    """Of the products of a step of one token, by what is written down."""
    made = []
    for call in model.family.layers(model, 1):
        if call.kernel.name.startswith("matvec"):
            words = dict(call.kernel.includes).values()
            one = Pipeline(call.kernel.name)
            one.constants = dict(call.kernel.constants)
            one.rounds = any(word.startswith("bytes_") for word in words)
            one.takes_left, one.leaves = "left_rows" in words, "leaving_bytes" in words
            made.append(device._takes(one))
    return sum(made)


@pytest.mark.parametrize(("pace", "left"), [(SLOW, 0.1), (SLOW, 0.5), (FAST, 0.9), ({}, 0.7), ({}, 0.99)])
@pytest.mark.parametrize("leaving", [1.0, 1.4])
@pytest.mark.parametrize("narrow", [1.0, 0.8, 0.6])
async def test_no_choice_makes_a_step_slower(visit, pace, left, leaving, narrow):
    """Also where workgroups of few rows are the fastest, which cannot leave what others would take."""
    visited, bench = visit
    device = bench.device
    device.byte_pace, device.left_pace, device.leaving_pace = pace, left, leaving

    def takes(entry, constants):
        few = constants.get("TEAMS", 16) * constants.get("ROWS", 1) % 16
        return 0.01 if entry == "round_rows" else 100.0 * (narrow if few else 1.0)

    device.takes = takes
    info, choices, _ = await visited(cache_bits=8)
    model = bench.model
    ways = {name: chosen(one, {}) for name, one in (("rules", model), ("exact", exact(model)))}
    ways["apart"] = chosen(model, {shape: one for shape, one in choices.items() if not one.takes_left})
    assert step_seconds(device, model) <= 1.001 * min(step_seconds(device, way) for way in ways.values())
    assert info["tuning"]["gain"] >= 0


async def test_who_has_too_few_rows_to_leave_anything_changes_for_who_would_take_it(visit):
    """Down is fastest by four rows a workgroup, and by its rule has eight."""
    visited, bench = visit
    write_tiny_gguf(bench.folder / "tiny.gguf", 1, types="Q4_0", ffn=8192, context=256)
    bench.device.left_pace = 0.5
    bench.device.takes = lambda entry, constants: (
        45.0 if (constants.get("LANES"), constants.get("TEAMS"), constants.get("ROWS")) == (64, 2, 2) else 100.0
    )
    _, choices, _ = await visited(cache_bits=8)
    taking = {(shape.rows, shape.cols) for shape, one in choices.items() if one.takes_left}
    assert taking == {(128, 64), (16384, 64), (64, 8192)}


async def test_who_takes_what_is_left_is_timed_and_runs_only_where_something_is(visit):
    visited, bench = visit
    await visited(cache_bits=8, tune="off")
    model = bench.model
    output, qkv, down = (Shape("matvec", "q4_0", rows, cols, True) for rows, cols in ((64, 64), (128, 64), (64, 96)))
    glu = Shape("matvec_glu", "q4_0", 192, 64, True)
    found = {shape: candidates(model.shared.caps, shape) for shape in (output, qkv, down, glu)}
    lines = _lines(model, found)
    assert {shape: len(line[0][1]) for shape, line in lines.items()} == {output: 2, qkv: 1, down: 2, glu: 2}
    assert {shape for shape, line in lines.items() if any(one.takes_left for one, _ in line)} == {qkv, down, glu}
    for shape, line in lines.items():
        assert line[0][0] == found[shape][0]
        for one, calls in line:
            assert all(("team_rows", "left_rows") in call.kernel.includes for call in calls) == one.takes_left
    taking = {shape: next(one for one in some if one.takes_left) for shape, some in found.items()}
    assert live(model, taking) == {shape: taking[shape] for shape in (qkv, down, glu)}
    narrow = next(one for one in found[output] if one.rows % 16)
    assert live(model, taking | {output: narrow}) == {output: narrow, qkv: taking[qkv], down: taking[down]}
    few = next(one for one in found[glu] if one.rows % 32)
    assert live(model, {glu: few, down: taking[down]}) == {glu: few}


async def test_a_step_that_takes_only_what_was_left_rounds(visit, monkeypatch):
    """Exact products of prompts do not end it."""
    visited, bench = visit
    monkeypatch.setattr(variants, "LEAST_INT8_COLS", 2048)
    write_tiny_gguf(bench.folder / "tiny.gguf", 1, types="Q4_0", ffn=8192, context=256)
    bench.device.byte_pace, bench.device.left_pace = {"matmul_int8": 3.0}, 0.5
    info, choices, kernels = await visited()
    assert not includes(kernels, "byte_rows")
    assert includes(kernels, "left_rows") == {"matvec"}
    assert info["int8"]
    assert [one for one in choices.values() if one.takes_left]


async def test_where_it_is_left_wrong_each_product_rounds_its_own(visit):
    visited, bench = visit
    bench.device.left_pace = 0.9
    bench.wrong = lambda names: [name for name in names if "leaving_bytes" in name and "glu" in name]
    info, choices, kernels = await visited(cache_bits=8)
    assert not [one for one in choices.values() if one.takes_left]
    assert not includes(kernels, "leaving_bytes")
    assert includes(kernels, "byte_rows") == {"matvec", "matvec_glu"}
    assert info["replaced_kernels"] == []


async def test_an_exact_product_that_turns_out_wrong_does_not_run(visit):
    visited, bench = visit
    bench.device.byte_pace = SLOW
    bench.wrong = lambda names: [name for name in names if name.startswith(("matmul ", "matmul_large "))]
    info, choices, kernels = await visited()
    assert "matmul_int8" in kinds(kernels)
    assert EXACT not in choices.values()
    assert info["replaced_kernels"] == []


async def test_products_of_prompts_are_timed_over_all_their_tokens(visit):
    _, bench = visit
    bound = []
    bench.device.bind = lambda pipeline, buffers: bound.append((str(pipeline), buffers))
    service = bench.service()
    await service.init("tiny", tune="off")
    model = service._require().model
    shapes = list(prompts(model))
    assert {shape.kernel for shape in shapes} == {"matmul"}
    bound.clear()
    await tune(model, shapes, lambda: bench.device.spent, 1e9)
    assert {name for name, _ in bound} == {"round_rows", "matmul_int8", "matmul"}
    step = struct.pack("<4I", 0, PROMPT, 0, 0)
    assert all(step in [bytes(each) for each in buffers] for _, buffers in bound)
    await service.unload()


async def test_slow_products_of_prompts_are_timed_once(visit):
    _, bench = visit
    bench.device.takes = lambda entry, constants: 50_000.0
    service = bench.service()
    await service.init("tiny", tune="off")
    model = service._require().model
    shapes = list(prompts(model))
    bench.device.timings = 0
    await tune(model, shapes, lambda: bench.device.spent, 1e9)
    assert bench.device.timings == 3 * len(shapes)  # to warm up, and each way
    await service.unload()
