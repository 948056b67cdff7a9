from itertools import pairwise

import numpy as np
import pytest

from local_llm.errors import OutOfMemory, UnsupportedModel
from local_llm.ops.embedding import embed
from local_llm.ops.weight import FORMATS, allocate, packed_bytes, repack_calls
from tests.kernels.workbench import workbench
from tests.reference import k_quants, quant


async def decoded(bench, weight):
    """The whole matrix, read back through embed."""
    ids = bench.buffer(np.arange(weight.rows, dtype=np.uint32))
    x = bench.nans(weight.rows, weight.cols)
    bench.set_count(weight.rows)
    await bench.run(embed(bench.shared, weight.rows, weight, ids, x))
    return await bench.read(x, weight.rows, weight.cols)


def cut(rng, count):
    """[0, count] in a few windows, borders anywhere, even and odd."""
    inner = rng.choice(np.arange(1, count), size=min(4, count - 1), replace=False)
    borders = [0, *sorted(inner.tolist()), count]
    return list(pairwise(borders))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("format", [*quant.FORMATS, *quant.FURTHER_FORMATS])
async def test_stacked_matrices_in_windows(device, format, split):
    """Two matrices one above the other, each in windows at odd places of the raw bytes, in no order."""
    rng = np.random.default_rng(7)
    cols = 257 if format in quant.WEIGHT_BYTES else 3 * quant.block_weights(format)
    row = FORMATS[format].quants * -(-cols // (32 * FORMATS[format].span))
    caps = {"max_binding_bytes": 4 * row} if split else {}
    with workbench(device, **caps) as bench:
        weight = allocate(bench.memory, bench.shared.caps, format, 12, cols, "weight")
        assert len(weight.parts) == (3 if split else 1)
        expected = []
        for first_row, rows in [(0, 5), (5, 7)]:
            data = quant.random_weights(rng, format, rows, cols)
            expected.append(quant.decode(format, data))
            unit = data.shape[1] if format in quant.WEIGHT_BYTES else quant.BLOCK_BYTES[format]
            flat = data.reshape(-1)
            for start, stop in rng.permutation(cut(rng, flat.size // unit)).tolist():
                offset = int(rng.integers(0, 20)) * 2
                noise = rng.integers(0, 256, offset, np.uint8)
                raw = bench.buffer(np.concatenate([noise, flat[start * unit : stop * unit]]))
                await bench.run(repack_calls(weight, raw, offset, start, stop - start, first_row))
        np.testing.assert_array_max_ulp(await decoded(bench, weight), np.concatenate(expected), 1)


@pytest.mark.parametrize("format", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"])
async def test_extreme_scales(device, format):
    """The largest, smallest normal and zero f16 scales, of both signs."""
    rng = np.random.default_rng(8)
    extremes = np.array([65504, -65504, 6.104e-05, -6.104e-05, 0, -0.0, 1], np.float16)
    data = quant.random_weights(rng, format, 7, 32)
    data[:, 0:2] = extremes[:, None].view(np.uint8)
    if format.endswith("1"):
        data[:, 2:4] = rng.permutation(extremes)[:, None].view(np.uint8)
    with workbench(device) as bench:
        weight = await bench.weight(format, data, 32)
        np.testing.assert_array_max_ulp(await decoded(bench, weight), quant.decode(format, data), 1)


async def test_powers_of_two(device):
    """All exponents of mxfp4; 2^-128 and 2^-127 are subnormal, which GPUs may take for zero."""
    data = quant.random_weights(np.random.default_rng(8), "mxfp4", 252, 32)
    data[:, 0] = np.arange(252)
    with workbench(device) as bench:
        got = await decoded(bench, await bench.weight("mxfp4", data, 32))
    expected = quant.decode("mxfp4", data)
    np.testing.assert_allclose(got[:2], expected[:2], atol=12 * 2.0**-127)
    np.testing.assert_array_equal(got[2:], expected[2:])


@pytest.mark.parametrize("format", quant.SUPER_FORMATS)
async def test_extremes_of_256_weights(device, format):
    """Scales as above (and subnormal: K types of small weights have such), times the least and the greatest steps."""
    rng = np.random.default_rng(8)
    extremes = np.array([60000, -60000, 6.104e-05, -6.104e-05, 3e-6, -6e-8, 0, -0.0, 1], np.float16)
    data = quant.random_weights(rng, format, 3 * len(extremes), 256)
    parts = k_quants.fields(format, data)
    for name in {"d", "dmin"} & set(parts):
        parts[name][:] = np.tile(extremes, 3)[:, None].view(np.uint8)
        extremes = rng.permutation(extremes)
    parts["scales"][: len(extremes)] = 0
    parts["scales"][-len(extremes) :] = 255 if format != "q6_k" else 128
    with workbench(device) as bench:
        weight = await bench.weight(format, data, 256)
        np.testing.assert_array_max_ulp(await decoded(bench, weight), quant.decode(format, data), 1)


async def test_a_second_repack_replaces_the_first(device):
    rng = np.random.default_rng(9)
    with workbench(device) as bench:
        weight = await bench.weight("q4_0", quant.random_weights(rng, "q4_0", 3, 96), 96)
        data = quant.random_weights(rng, "q4_0", 3, 96)
        await bench.run(repack_calls(weight, bench.buffer(data), 0, 0, 9))
        np.testing.assert_array_max_ulp(await decoded(bench, weight), quant.decode("q4_0", data), 1)


@pytest.mark.parametrize("format", quant.WEIGHT_BYTES)
async def test_the_last_block_of_a_row_is_padded_with_zeros(device, format):
    with workbench(device) as bench:
        weight = await bench.weight(format, np.full((2, 33 * quant.WEIGHT_BYTES[format]), 0x3F, np.uint8), 33)
        data = await device.read(weight.parts[0].quants.handle, packed_bytes(format, 2, 33))
        rows = np.frombuffer(data, np.uint8).reshape(2, 64, -1)
        assert (rows[:, :33] == 0x3F).all()
        assert not rows[:, 33:].any()


async def test_bytes_held(device):
    with workbench(device) as bench:
        for format in (*quant.FORMATS, *quant.FURTHER_FORMATS):
            before = bench.memory.nbytes
            allocate(bench.memory, bench.shared.caps, format, 64, 768, "weight")
            assert 0 <= bench.memory.nbytes - before - packed_bytes(format, 64, 768) <= 16
            assert packed_bytes(format, 64, 768) <= (1.1 if format == "q5_0" else 1.02) * 64 * quant.row_bytes(
                format, 768
            )  # near the file's size


async def test_what_cannot_be_allocated(device):
    with workbench(device, max_binding_bytes=1024) as bench:
        held = bench.memory.nbytes
        with pytest.raises(UnsupportedModel, match="multiple of 256"):
            allocate(bench.memory, bench.shared.caps, "q4_k", 1, 288, "odd")
        with pytest.raises(UnsupportedModel, match="q9_9"):
            allocate(bench.memory, bench.shared.caps, "q9_9", 1, 32, "odd")
        with pytest.raises(OutOfMemory, match="One row"):
            allocate(bench.memory, bench.shared.caps, "f32", 1, 288, "wide")
        assert bench.memory.nbytes == held
