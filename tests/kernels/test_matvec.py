import numpy as np
import pytest

from local_llm.ops.linear import Parts, matvec
from tests.kernels.workbench import workbench
from tests.reference import quant, tolerance
from tests.reference.linear import linear

EPS = 1e-5


def shapes(format):
    """(N, K) pairs; only formats without blocks have rows of any length."""
    return [(1, 576), (3, 96), (49, 64), (1000, 32), (7, 2048), *([(5, 257)] if format in quant.WEIGHT_BYTES else [])]


async def check(bench, format, rows, cols, *, norm=False, bias=False, add=False, offset=0):
    rng = np.random.default_rng(rows + cols)
    data = quant.random_weights(rng, format, rows, cols)
    weight = await bench.weight(format, data, cols)
    x = rng.standard_normal((1, cols), np.float32)
    gain = rng.uniform(0.5, 1.5, cols).astype(np.float32)
    shift, before = rng.standard_normal((2, rows), np.float32)
    y = bench.buffer(
        np.concatenate([np.full(offset, 7), before if add else np.full(rows, np.nan), [7]]).astype(np.float32)
    )
    calls = matvec(
        bench.shared,
        weight,
        bench.buffer(np.append(x, np.float32(np.nan))),
        y,
        norm=bench.buffer(gain) if norm else None,
        eps=EPS,
        bias=bench.buffer(shift) if bias else None,
        add=add,
        row_offset=offset,
    )
    await bench.run(calls)
    expected = linear(quant.decode(format, data), x, norm=gain if norm else None, eps=EPS)[0]
    expected += (shift if bias else 0) + (before if add else 0)
    got = await bench.read(y, offset + rows + 1)
    np.testing.assert_allclose(got[offset:-1], expected, **tolerance.DOT)
    assert (got[:offset] == 7).all()
    assert got[-1] == 7


BOTH = pytest.mark.parametrize("software", [False, True], ids=["gpu", "serial"])


@BOTH
@pytest.mark.parametrize("format", quant.FORMATS)
async def test_matvec(device, format, software):
    with workbench(device, software=software) as bench:
        for rows, cols in shapes(format):
            await check(bench, format, rows, cols)


@BOTH
async def test_norm_bias_and_add(device, software):
    with workbench(device, software=software) as bench:
        await check(bench, "q4_1", 49, 576, norm=True, bias=True, add=True, offset=3)
        await check(bench, "q8_0", 130, 96, norm=True)
        await check(bench, "q5_0", 130, 96, bias=True)
        await check(bench, "q4_0", 5, 2048, add=True, offset=1)
        await check(bench, "f16", 5, 257, norm=True, add=True)
        await check(bench, "f32", 5, 33, norm=True, bias=True)


@BOTH
async def test_split_weight_and_many_workgroups(device, software):
    with workbench(device, software=software) as bench:
        for rows_per_part in (1, 3, 66):
            split = bench.limited(max_binding_bytes=rows_per_part * 3 * 16)
            await check(split, "q4_0", 70, 96, norm=True, bias=True, add=True, offset=2)
        await check(bench.limited(max_workgroups=7), "q4_0", 1000, 32, norm=True, bias=True, add=True)


@pytest.mark.parametrize("parts", [4, 8, 16])
async def test_input_in_parts(device, parts):
    heads, width, rows = 3, 32, 40
    rng = np.random.default_rng(parts)
    sums = rng.standard_normal((heads, parts, width)).astype(np.float32)
    highest, weights = rng.normal(0, 9, (heads, parts)), rng.uniform(0.1, 90, (heads, parts))
    sums[:, -1], highest[:, -1], weights[:, -1] = 0, -1e30, 0  # a part without positions
    scores = np.stack([highest, weights, 0 * weights, 0 * weights], -1).astype(np.float32)
    factor = np.exp(highest - highest.max(1, keepdims=True))
    x = (sums * factor[..., None]).sum(1) / (weights * factor).sum(1)[:, None]
    with workbench(device, software=False) as bench:
        data = quant.random_weights(rng, "q4_0", rows, heads * width)
        weight = await bench.weight("q4_0", data, heads * width)
        raw, y = bench.buffer(np.concatenate([sums.ravel(), scores.ravel()])), bench.buffer(np.zeros(rows, np.float32))
        await bench.run(matvec(bench.shared, weight, raw, y, parts=Parts(parts, width)))
        got = await bench.read(y, rows)
    expected = linear(quant.decode("q4_0", data), x.reshape(1, -1).astype(np.float32))[0]
    np.testing.assert_allclose(got, expected, **tolerance.DOT)
