"""Whether products round their inputs on this adapter, by a device whose times are written down."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from local_llm import choosing
from local_llm.gpu.ports import PACKED_DOT
from local_llm.models.proof import steps
from local_llm.models.tuning import PROMPT, prompts, tune
from local_llm.ops import variants
from local_llm.ops.variants import EXACT
from tests.model.tiny import write_tiny_gguf
from tests.unit.tuning_rig import GPU, Watched, start, wide

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
