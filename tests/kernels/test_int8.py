"""Products whose inputs are rounded to bytes. Inputs that rounding leaves as they are must give the exact products."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm.ops import few, variants
from local_llm.ops.linear import Parts, matmul, matvec, matvec_glu
from local_llm.ops.shared import Rounded
from local_llm.ops.variants import INT8_FORMATS, LEAST_INT8_COLS, shape_of
from local_llm.ops.weight import allocate
from tests.kernels.test_mlc import load as load_mlc
from tests.kernels.workbench import workbench
from tests.reference import quant, tolerance
from tests.reference.linear import glu, linear
from tests.reference.rounding import rounded, whole_numbers

EPS = 1e-5
MLC = ("q4f16_1", "q4f32_1")
FORMATS = pytest.mark.parametrize("format", sorted(INT8_FORMATS))


def rounding(bench, tokens=0, cols=0):
    """The bench with inputs rounded; room for tokens x cols of them."""
    where = bench.memory.create(max(tokens * cols, 16), "bytes"), bench.memory.create(max(tokens * cols // 2, 16), "s")
    return replace(bench, shared=replace(bench.shared, rounded=Rounded(*where)))


async def weight_of(bench, rng, format, rows, cols):
    """And its values."""
    if format in MLC:
        weight = allocate(bench.memory, bench.shared.caps, format, rows, cols, "weight")
        decoded = await load_mlc(bench, rng, format, weight, 0, rows)
    else:
        data = quant.random_weights(rng, format, rows, cols)
        weight, decoded = await bench.weight(format, data, cols), quant.decode(format, data)
    assert shape_of(bench.shared, weight, "matvec").int8
    return weight, decoded


def gains(rng, cols):
    """Of powers of two, one for each block: products of whole numbers with them are such again."""
    return np.repeat(np.exp2(rng.integers(-1, 2, cols // 32)), 32).astype(np.float32)


async def check(bench, format, rows, cols, *, norm=False, bias=False, add=False):
    rng = np.random.default_rng(rows + cols)
    weight, decoded = await weight_of(bench, rng, format, rows, cols)
    x, gain = whole_numbers(rng, 1, cols), gains(rng, cols)
    shift, before = rng.standard_normal((2, rows), np.float32)
    y = bench.buffer(np.append(before if add else np.full(rows, np.nan), 7).astype(np.float32))
    gained, shifts = bench.buffer(gain) if norm else None, bench.buffer(shift) if bias else None
    await bench.run(matvec(bench.shared, weight, bench.buffer(x), y, norm=gained, eps=EPS, bias=shifts, add=add))
    expected = linear(decoded, x, norm=gain if norm else None, eps=EPS)[0]
    expected += (shift if bias else 0) + (before if add else 0)
    got = await bench.read(y, rows + 1)
    np.testing.assert_allclose(got[:-1], expected, **tolerance.DOT)
    assert got[-1] == 7


@FORMATS
async def test_matvec(device, format):
    with workbench(device, software=False) as plain:
        await check(rounding(plain), format, 37, LEAST_INT8_COLS)


@pytest.mark.parametrize(("rows", "cols"), [(1, 2048), (70, 3072), (130, 2304), (20, 8448), (4097, 8192)])
async def test_shapes(device, rows, cols):
    with workbench(device, software=False) as plain:
        await check(rounding(plain), "q4_0", rows, cols, norm=True, bias=True, add=True)


async def test_split_weight_and_many_workgroups(device):
    with workbench(device, software=False, max_binding_bytes=66 * 64 * 16, max_workgroups=2) as plain:
        await check(rounding(plain), "q4_1", 200, 2048, norm=True, bias=True, add=True)


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize(("format", "width", "cols"), [("q4_0", 49, 2048), ("q6_k", 70, 2304), ("q4_k", 3, 4096)])
async def test_glu(device, format, width, cols, activation):
    rng = np.random.default_rng(width)
    with workbench(device, software=False) as plain:
        bench = rounding(plain)
        weight, decoded = await weight_of(bench, rng, format, 2 * width, cols)
        x, gain = whole_numbers(rng, 1, cols), gains(rng, cols) / 64
        y = bench.nans(width + 1)
        options = {"norm": bench.buffer(gain), "eps": EPS, "activation": activation}
        await bench.run(matvec_glu(bench.shared, weight, bench.buffer(x), y, **options))
        expected = glu(linear(decoded, x, norm=gain, eps=EPS), activation)[0]
        got = await bench.read(y, width + 1)
    np.testing.assert_allclose(got[:-1], expected, **tolerance.DOT)
    assert np.isnan(got[-1])


async def products(bench, format, tokens, rows, cols, x, *, recorded=0, **options):
    """Of matmul, and of numpy with floats. recorded: tokens the grid is made for, where the step has fewer."""
    rng = np.random.default_rng(rows)
    weight, decoded = await weight_of(bench, rng, format, rows, cols)
    grid = max(tokens, recorded)
    shift, before = rng.standard_normal(rows, np.float32), rng.standard_normal((grid, rows + 5), np.float32)
    padded = np.full((grid, cols), np.nan, np.float32)
    padded[:tokens] = x
    y = bench.buffer(before)
    bench.set_count(tokens)
    given = {"bias": bench.buffer(shift), "add": True, "y_stride": rows + 5, "row_offset": 3}
    calls = matmul(bench.shared, grid, weight, bench.buffer(padded), y, **given, **options)
    assert [call.kernel.name for call in calls][:2] == ["round_rows", "matmul_int8"]
    await bench.run(calls)
    expected = before.astype(np.float64)
    expected[:tokens, 3 : rows + 3] += linear(decoded, x, bias=shift)
    return await bench.read(y, grid, rows + 5), expected


@pytest.mark.parametrize("format", ["q4_0", "q4_k", "q6_k"])
async def test_matmul(device, format):
    with workbench(device, software=False) as plain:
        for tokens, rows, cols, recorded in [(33, 70, 2048, 0), (3, 130, 2304, 40)]:
            bench = rounding(plain, max(tokens, recorded), cols)
            x = whole_numbers(np.random.default_rng(1), tokens, cols)
            got, expected = await products(bench, format, tokens, rows, cols, x, recorded=recorded)
            np.testing.assert_allclose(got, expected, **tolerance.DOT)


@pytest.mark.parametrize(("bytes", "enough"), [(16384, 0), (32768, 0), (32768, 1 << 20)], ids=["64", "128", "32"])
async def test_matmul_of_all_sorts_of_tiles_and_split_weights(device, monkeypatch, bytes, enough):
    monkeypatch.setattr(variants, "ENOUGH_WORKGROUPS", enough)
    with workbench(device, software=False, workgroup_bytes=bytes, max_binding_bytes=66 * 65 * 16) as plain:
        bench, x = rounding(plain, 130, 2080), whole_numbers(np.random.default_rng(1), 130, 2080)
        got, expected = await products(bench, "q4_0", 130, 150, 2080, x)
        np.testing.assert_allclose(got, expected, **tolerance.DOT)


async def test_inputs_are_rounded_to_the_nearest_of_255_steps(device):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 2048), np.float32)
    x[:, 64:96] = 0
    x[3, 100] = 20
    with workbench(device, software=False) as plain:
        bench = rounding(plain, 40, 2048)
        weight, decoded = await weight_of(bench, rng, "q4_0", 300, 2048)
        bench.set_count(40)
        y = bench.nans(40, 300)
        await bench.run(matmul(bench.shared, 40, weight, bench.buffer(x), y, y_stride=300))
        several = await bench.read(y, 40, 300)
        await bench.run(matvec(bench.shared, weight, bench.buffer(x[3]), y))
        one = await bench.read(y, 300)
    expected = linear(decoded, rounded(x))
    for got, wanted in ((several, expected), (one, expected[3])):
        assert np.linalg.norm(got - wanted) < 1e-4 * np.linalg.norm(wanted)  # one step of one input is some 3e-4
    exact = linear(decoded, x)
    assert 1e-3 < np.linalg.norm(several - exact) / np.linalg.norm(exact) < 1e-2  # and rounding shows


@pytest.mark.parametrize(("each", "format"), [(1, "q6_k"), (2, "q4_k"), (4, "q4_0")])
async def test_few_tokens_get_the_numbers_of_one(device, each, format):
    rng, rows, cols, tokens = np.random.default_rng(each), 70, 2304, 4
    with workbench(device, software=False) as plain:
        bench = rounding(plain)
        weight, _ = await weight_of(bench, rng, format, rows, cols)
        x = rng.standard_normal((tokens, cols), np.float32)
        options = {"norm": bench.buffer(rng.uniform(0.5, 1.5, cols).astype(np.float32)), "eps": EPS}
        bench.set_count(3)
        y, halves = bench.nans(tokens, rows), bench.nans(tokens, rows // 2)
        given = (bench.shared, tokens, weight, bench.buffer(x))
        await bench.run(few.matvec_few(*given, y, y_stride=rows, each=each, **options))
        await bench.run(few.matvec_few_glu(*given, halves, each=each, **options))
        got, got_halves = await bench.read(y, tokens, rows), await bench.read(halves, tokens, rows // 2)
        for t in range(3):
            y, half = bench.nans(rows), bench.nans(rows // 2)
            await bench.run(matvec(bench.shared, weight, bench.buffer(x[t]), y, **options))
            await bench.run(matvec_glu(bench.shared, weight, bench.buffer(x[t]), half, **options))
            np.testing.assert_array_equal(got[t], await bench.read(y, rows))
            np.testing.assert_array_equal(got_halves[t], await bench.read(half, rows // 2))
        assert np.isnan(got[3]).all()


async def test_input_in_parts(device):
    heads, width, rows, parts = 32, 64, 40, 4
    rng = np.random.default_rng(parts)
    sums = rng.standard_normal((heads, parts, width)).astype(np.float32)
    scores = rng.uniform(0.1, 9, (heads, parts, 4)).astype(np.float32)
    factor = np.exp(scores[..., 0] - scores[..., 0].max(1, keepdims=True))
    x = (sums * factor[..., None]).sum(1) / (scores[..., 1] * factor).sum(1)[:, None]
    with workbench(device, software=False) as plain:
        bench = rounding(plain)
        weight, decoded = await weight_of(bench, rng, "q4_0", rows, heads * width)
        raw, y = bench.buffer(np.concatenate([sums.ravel(), scores.ravel()])), bench.nans(rows)
        await bench.run(matvec(bench.shared, weight, raw, y, parts=Parts(parts, width)))
        got = await bench.read(y, rows)
    expected = linear(decoded, rounded(x.reshape(1, -1)))[0]
    assert np.linalg.norm(got - expected) < 1e-3 * np.linalg.norm(expected)
