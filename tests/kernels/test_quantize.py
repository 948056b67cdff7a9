"""Floats that become 8 or 4 bits while they are loaded."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm.errors import UnsupportedModel
from local_llm.formats.quant import BY_FORMAT
from local_llm.ops.weight import allocate, repack_calls
from tests.kernels.test_repack import cut, decoded
from tests.kernels.workbench import workbench
from tests.reference import quant

SOURCES = pytest.mark.parametrize("source", quant.WEIGHT_BYTES)


async def quantized(bench, rng, target, source, data, cols):
    """The rows of data, uint8 [rows, row bytes], as `target`, in windows at any byte; decoded."""
    weight = allocate(bench.memory, bench.shared.caps, target, data.shape[0], cols, "weight")
    for start, stop in rng.permutation(cut(rng, data.shape[0])).tolist():
        noise = rng.integers(0, 256, int(rng.integers(0, 9)), np.uint8)
        raw = bench.buffer(np.concatenate([noise, data[start:stop].reshape(-1)]))
        await bench.run(
            repack_calls(weight, raw, len(noise), start, stop - start, stored=replace(BY_FORMAT[source], format=target))
        )
    return await decoded(bench, weight)


def blocks(values):
    """float [rows, cols] → [rows, blocks, 32], padded with zeros."""
    rows, cols = values.shape
    padded = np.zeros((rows, -(-cols // 32) * 32), np.float32)
    padded[:, :cols] = values
    return padded.reshape(rows, -1, 32)


@pytest.mark.parametrize("cols", [96, 257])
@SOURCES
async def test_8_bits(device, source, cols):
    rng = np.random.default_rng(cols)
    data = quant.random_weights(rng, source, 7, cols)
    values = quant.decode(source, data)
    with workbench(device, max_binding_bytes=4 * 32 * -(-cols // 32)) as bench:
        got = await quantized(bench, rng, "q8_0", source, data, cols)
    step = np.abs(blocks(values)).max(axis=2, keepdims=True) / 127
    assert (np.abs(blocks(got) - blocks(values)) <= 0.51 * step + 1e-7).all()  # half a step, and d's own rounding
    assert np.abs(got - values).max() > 0


@SOURCES
async def test_4_bits(device, source):
    """No worse than the plain choice of d, the largest number / -8, and better on the whole."""
    rng = np.random.default_rng(4)
    data = quant.random_weights(rng, source, 40, 257)
    values = quant.decode(source, data)
    with workbench(device) as bench:
        got = await quantized(bench, rng, "q4_0", source, data, 257)
    wanted = blocks(values)
    largest = np.take_along_axis(wanted, np.abs(wanted).argmax(axis=2)[..., None], 2)
    d = largest / -8
    plain = d * np.clip(np.round(wanted / d), -8, 7)
    error, most = (np.square(other - wanted).sum(axis=2) for other in (blocks(got), plain))
    assert (error <= most * 1.01 + 1e-6).all()  # d is rounded to f16
    assert error.sum() < 0.95 * most.sum()


@pytest.mark.parametrize("target", ["q8_0", "q4_0"])
async def test_zeros_and_lone_numbers(device, target):
    values = np.zeros((4, 64), np.float32)
    values[1, 3], values[2, 40], values[3, 63] = 8, -8, 1e-3
    with workbench(device) as bench:
        data = values.view(np.uint8).reshape(4, -1)
        got = await quantized(bench, np.random.default_rng(0), target, "f32", data, 64)
    np.testing.assert_allclose(got, values, rtol=1e-3)


async def test_what_cannot_be_quantized(device):
    with workbench(device) as bench:
        weight = allocate(bench.memory, bench.shared.caps, "q4_k", 2, 256, "weight")
        with pytest.raises(UnsupportedModel, match="F16 cannot become q4_k"):
            repack_calls(weight, bench.nans(4), 0, 0, 1, stored=replace(BY_FORMAT["f16"], format="q4_k"))
