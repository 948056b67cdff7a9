import numpy as np
import pytest

from local_llm.ops.linear import matvec_glu
from tests.kernels.workbench import workbench
from tests.reference import quant, tolerance
from tests.reference.linear import glu, linear

EPS = 1e-5


def shapes(format):
    """(F, K) pairs; only formats without blocks have rows of any length."""
    return [(1, 576), (49, 96), (3, 2048), *([(5, 257)] if format in quant.WEIGHT_BYTES else [])]


async def check(bench, format, width, cols, *, norm=True, activation="silu"):
    rng = np.random.default_rng(width + cols)
    data = quant.random_weights(rng, format, 2 * width, cols)
    weight = await bench.weight(format, data, cols)
    x = rng.standard_normal((1, cols), np.float32) / np.float32(1 if norm else np.sqrt(cols))
    gain = (rng.uniform(0.5, 1.5, cols) / np.sqrt(cols)).astype(np.float32)
    y = bench.nans(width + 1)
    given = {"norm": bench.buffer(gain), "eps": EPS} if norm else {}
    await bench.run(matvec_glu(bench.shared, weight, bench.buffer(x), y, activation=activation, **given))
    expected = glu(linear(quant.decode(format, data), x, norm=gain if norm else None, eps=EPS), activation)[0]
    got = await bench.read(y, width + 1)
    np.testing.assert_allclose(got[:-1], expected, **tolerance.DOT)
    assert np.isnan(got[-1])


BOTH = pytest.mark.parametrize("software", [False, True], ids=["gpu", "serial"])


@BOTH
@pytest.mark.parametrize("format", quant.FORMATS)
async def test_matvec_glu(device, format, software):
    with workbench(device, software=software) as bench:
        for width, cols in shapes(format):
            await check(bench, format, width, cols)


@BOTH
async def test_activations_and_no_norm(device, software):
    with workbench(device, software=software) as bench:
        await check(bench, "q4_1", 49, 576, activation="gelu")
        await check(bench, "q8_0", 49, 96, norm=False)


@BOTH
async def test_split_weight(device, software):
    with workbench(device, software=software) as bench:
        for rows_per_part in (2, 3, 5, 19):
            await check(bench.limited(max_binding_bytes=rows_per_part * 3 * 16), "q4_0", 10, 96)
