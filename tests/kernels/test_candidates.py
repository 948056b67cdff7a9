"""Every variant that the tuner may choose computes the product, and steps of a few tokens give each token its bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from local_llm.ops.few import matvec_few, matvec_few_glu
from local_llm.ops.linear import matvec, matvec_glu
from local_llm.ops.variants import candidates, shape_of
from tests.kernels.test_int8 import gains, rounding
from tests.kernels.workbench import workbench
from tests.reference import quant, tolerance
from tests.reference.linear import linear
from tests.reference.rounding import whole_numbers

EPS = 1e-5
TOKENS = 3


async def given(b, format, rows, cols):
    rng = np.random.default_rng(rows)
    data = quant.random_weights(rng, format, rows, cols)
    weight = await b.weight(format, data, cols)
    return weight, quant.decode(format, data), rng.standard_normal((TOKENS, cols), np.float32)


def each_of(b, weight, kernel):
    """The bench, said to have chosen one candidate after the other."""
    shape = shape_of(b.shared, weight, kernel)
    found = candidates(b.shared.caps, shape)
    assert len(found) > 4
    for variant in found:
        yield variant, replace(b.shared, choices={shape: variant})


@pytest.mark.parametrize(("format", "int8"), [("q8_0", False), ("q4_0", True)])
async def test_matvec(device, format, int8):
    rows, cols = 21, 2304
    rng = np.random.default_rng(cols)
    with workbench(device, software=False) as plain_bench:
        b = rounding(plain_bench) if int8 else plain_bench
        weight, matrix, x = await given(b, format, rows, cols)
        gain, bias = np.linspace(0.5, 1.5, cols, dtype=np.float32), np.linspace(-1, 1, rows, dtype=np.float32)
        if int8:  # what rounding leaves as it is
            x, gain = whole_numbers(rng, TOKENS, cols), gains(rng, cols)
        options = {"norm": b.buffer(gain), "eps": EPS, "bias": b.buffer(bias)}
        expected = linear(matrix, x, norm=gain, eps=EPS) + bias
        b.set_count(TOKENS)
        for variant, s in each_of(b, weight, "matvec"):
            y, plain = b.nans(TOKENS, rows), []
            await b.run(matvec_few(s, TOKENS, weight, b.buffer(x), y, y_stride=rows, **options))
            for token in x:
                one = b.nans(rows)
                calls = matvec(s, weight, b.buffer(token), one, **options)
                assert variant.int8 <= int8
                assert dict(calls[0].kernel.constants).items() >= variant.constants.items()
                await b.run(calls)
                plain.append(await b.read(one, rows))
            np.testing.assert_allclose(plain, expected, **tolerance.DOT, err_msg=str(variant))
            np.testing.assert_array_equal(await b.read(y, TOKENS, rows), plain, str(variant))


async def test_matvec_glu(device):
    rows, cols = 2 * 21, 576
    with workbench(device, software=False) as b:
        weight, matrix, x = await given(b, "q4_1", rows, cols)
        gain = np.linspace(0.5, 1.5, cols, dtype=np.float32)
        options = {"norm": b.buffer(gain), "eps": EPS}
        gates, ups = np.split(linear(matrix, x, norm=gain, eps=EPS), 2, axis=1)
        expected = gates / (1 + np.exp(-gates)) * ups
        b.set_count(TOKENS)
        for variant, s in each_of(b, weight, "matvec_glu"):
            y, plain = b.nans(TOKENS, rows // 2), []
            await b.run(matvec_few_glu(s, TOKENS, weight, b.buffer(x), y, **options))
            for token in x:
                one = b.nans(rows // 2)
                await b.run(matvec_glu(s, weight, b.buffer(token), one, **options))
                plain.append(await b.read(one, rows // 2))
            np.testing.assert_allclose(plain, expected, **tolerance.DOT, err_msg=str(variant))
            np.testing.assert_array_equal(await b.read(y, TOKENS, rows // 2), plain, str(variant))
