"""MLC's weights: repacked in pieces, decoded, multiplied, against the format's definition."""

import numpy as np
import pytest

from local_llm.formats.quant import MLC_TYPES
from local_llm.ops.linear import matmul, matvec
from local_llm.ops.weight import FORMATS, allocate, repack_calls
from tests.kernels.test_repack import cut, decoded
from tests.kernels.workbench import workbench
from tests.reference import mlc, tolerance

KINDS = pytest.mark.parametrize("kind", MLC_TYPES)


async def load(bench, rng, kind, weight, first_row, rows):
    """A random matrix of `rows` rows into weight from row first_row on, in pieces and no order; its float values."""
    pair = MLC_TYPES[kind]
    tensors = mlc.random(rng, kind, rows, weight.cols)
    calls = []
    for stored, array in zip((pair.weight, pair.scale), tensors, strict=True):
        flat = array.reshape(-1).view(np.uint8)
        size = stored.piece_bytes(rows, weight.cols)
        pieces = flat.size // size
        for start, stop in rng.permutation(cut(rng, pieces) if pieces > 1 else [(0, 1)]).tolist():
            noise = rng.integers(0, 256, int(rng.integers(0, 9)), np.uint8)
            raw = bench.buffer(np.concatenate([noise, flat[start * size : stop * size]]))
            calls += repack_calls(weight, raw, len(noise), start, stop - start, first_row, stored=stored, rows=rows)
    await bench.run([calls[i] for i in rng.permutation(len(calls))])
    return mlc.dequantize(kind, *tensors, weight.cols)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("cols", [416, 120, 33, 7])
@KINDS
async def test_stacked_matrices_in_pieces(device, kind, cols, split):
    rng = np.random.default_rng(cols)
    format = MLC_TYPES[kind].weight.format or ""
    caps = {"max_binding_bytes": 4 * FORMATS[format].quants * -(-cols // 32)} if split else {}
    with workbench(device, **caps) as bench:
        weight = allocate(bench.memory, bench.shared.caps, format, 12, cols, "weight")
        assert len(weight.parts) == (3 if split else 1)
        expected = [await load(bench, rng, kind, weight, 0, 5), await load(bench, rng, kind, weight, 5, 7)]
        np.testing.assert_array_max_ulp(await decoded(bench, weight), np.concatenate(expected), 1)


@pytest.mark.parametrize("software", [False, True], ids=["gpu", "serial"])
@pytest.mark.parametrize("kind", ["q4f16_1", "q4f32_1", "q3f16_1"])
async def test_products(device, kind, software):
    rng = np.random.default_rng(5)
    with workbench(device, software=software) as bench:
        for cols in (576, 100) if software else (100,):
            weight = allocate(
                bench.memory, bench.shared.caps, (MLC_TYPES[kind].weight.format or ""), 50, cols, "weight"
            )
            values = await load(bench, rng, kind, weight, 0, 50)
            x = rng.standard_normal((33, cols), np.float32)
            y, many = bench.nans(50), bench.nans(33, 50)
            bench.set_count(33)
            given = bench.buffer(x)
            await bench.run(matvec(bench.shared, weight, given, y))
            await bench.run(matmul(bench.shared, 33, weight, given, many, y_stride=50))
            expected = x.astype(np.float64) @ values.astype(np.float64).T
            np.testing.assert_allclose(await bench.read(y, 50), expected[0], **tolerance.DOT)
            np.testing.assert_allclose(await bench.read(many, 33, 50), expected, **tolerance.DOT)
