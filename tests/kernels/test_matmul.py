import numpy as np
import pytest

from local_llm.ops import variants
from local_llm.ops.linear import matmul
from local_llm.ops.weight import FORMATS
from tests.kernels.workbench import workbench
from tests.reference import quant, tolerance
from tests.reference.linear import linear

BOTH = pytest.mark.parametrize("software", [False, True], ids=["gpu", "serial"])


async def check(bench, format, tokens, rows, cols, *, bias=False, add=False, offset=0, after=0, recorded=0):
    """recorded: tokens that the grid was made for, where the step has fewer."""
    rng = np.random.default_rng(rows + cols)
    data = quant.random_weights(rng, format, rows, cols)
    weight = await bench.weight(format, data, cols)
    x = rng.standard_normal((tokens, cols), np.float32)
    shift = rng.standard_normal(rows, np.float32)
    grid_tokens, stride = max(tokens, recorded), offset + rows + after
    before = rng.standard_normal((grid_tokens, stride), np.float32)
    padded = np.full((grid_tokens, cols), np.nan, np.float32)
    padded[:tokens] = x
    y = bench.buffer(before)
    bench.set_count(tokens)
    calls = matmul(
        bench.shared,
        grid_tokens,
        weight,
        bench.buffer(padded),
        y,
        y_stride=stride,
        bias=bench.buffer(shift) if bias else None,
        add=add,
        row_offset=offset,
    )
    await bench.run(calls)
    expected = before.astype(np.float64)
    target = expected[:tokens, offset : offset + rows]
    target[:] = linear(quant.decode(format, data), x, bias=shift if bias else 0) + (target if add else 0)
    np.testing.assert_allclose(await bench.read(y, grid_tokens, stride), expected, **tolerance.DOT)


@BOTH
@pytest.mark.parametrize("format", quant.FORMATS)
async def test_matmul(device, format, software):
    with workbench(device, software=software) as bench:
        for tokens, rows, cols in [(2, 1, 576), (33, 3, 96), (130, 49, 64), (5, 1000, 32)]:
            await check(bench, format, tokens, rows, cols)
        # a grid recorded for more tokens than the step has
        await check(bench, format, 33, 49, 96, recorded=70)
        await check(bench, format, 1, 3, 96, recorded=2)
        # a weight in parts, into some columns of a wider result
        for rows in (1, 3, 66):
            split = bench.limited(max_binding_bytes=rows * FORMATS[format].quants * 3)
            await check(split, format, 5, 70, 96, offset=2, after=1)


@BOTH
@pytest.mark.parametrize("format", quant.WEIGHT_BYTES)
async def test_rows_of_any_length(device, format, software):
    with workbench(device, software=software) as bench:
        await check(bench, format, 3, 65, 257)
        await check(bench, format, 1, 3, 33, recorded=2)


@BOTH
async def test_bias_and_add(device, software):
    with workbench(device, software=software) as bench:
        await check(bench, "q4_1", 34, 65, 96, bias=True, add=True, offset=5, after=2)
        split = bench.limited(max_binding_bytes=3 * 3 * 16)
        await check(split, "q4_1", 5, 70, 96, bias=True, add=True, offset=2)


@BOTH
async def test_bias_or_add(device, software):
    with workbench(device, software=software) as bench:
        await check(bench, "q8_0", 40, 3, 64, add=True, after=1)
        await check(bench, "f16", 3, 7, 64, bias=True, offset=1)


@pytest.mark.parametrize("lanes", [64, 128])
@pytest.mark.parametrize("format", ["q4_0", "q8_0", "f32"])
async def test_large_tiles(device, monkeypatch, format, lanes):
    monkeypatch.setattr(variants, "ENOUGH_WORKGROUPS", 0)
    monkeypatch.setattr(variants, "MANY_ROWS", 0 if lanes == 128 else 1 << 30)
    with workbench(device, software=False) as bench:
        await check(bench, format, 130, 150, 96, bias=True, add=True, offset=3, after=2)
        await check(bench, format, 33, 49, 64, recorded=200)
        await check(bench, format, 5, 1000, 32)
        split = bench.limited(max_binding_bytes=66 * FORMATS[format].quants * 3)
        await check(split, format, 70, 70, 96, offset=2, after=1)
        if format == "f32":
            await check(bench, format, 70, 130, 257)
