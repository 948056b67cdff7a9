import numpy as np
import pytest

from local_llm.ops.embedding import embed
from tests.kernels.workbench import workbench
from tests.reference import quant


def shapes(format):
    """(rows, cols) pairs; only formats without blocks have rows of any length."""
    return [(49, 576), (3, 32), (5, 2080), *([(7, 257), (3, 1)] if format in quant.WEIGHT_BYTES else [])]


@pytest.mark.parametrize("format", quant.FORMATS)
async def test_embed_decodes_what_repack_stored(device, format):
    rng = np.random.default_rng(3)
    with workbench(device) as bench:
        for rows, cols in shapes(format):
            data = quant.random_weights(rng, format, rows, cols)
            weight = await bench.weight(format, data, cols)
            ids = np.arange(rows, dtype=np.uint32)[::-1].copy()
            x = bench.nans(rows + 1, cols)
            bench.set_count(rows)
            # recorded for one token more than the step has
            await bench.run(embed(bench.shared, rows + 1, weight, bench.buffer(np.append(ids, np.uint32(0))), x))
            got = await bench.read(x, rows + 1, cols)
            np.testing.assert_array_max_ulp(got[:rows], quant.decode(format, data)[ids], 1)
            assert np.isnan(got[rows]).all()


async def test_factor_and_split_weight(device):
    data = quant.random_weights(np.random.default_rng(4), "q8_0", 10, 96)
    ids = np.array([9, 0, 3, 3, 5], np.uint32)
    with workbench(device, max_binding_bytes=3 * 96) as bench:
        weight = await bench.weight("q8_0", data, 96)
        assert len(weight.parts) == 4
        x = bench.nans(5, 96)
        bench.set_count(5)
        await bench.run(embed(bench.shared, 5, weight, bench.buffer(ids), x, factor=3.0))
        np.testing.assert_array_max_ulp(await bench.read(x, 5, 96), quant.decode("q8_0", data)[ids] * np.float32(3), 1)


async def test_positions_and_the_first_row_are_added(device):
    data = quant.random_weights(np.random.default_rng(5), "f16", 10, 64)
    with workbench(device, max_binding_bytes=4 * 128) as bench:
        weight = await bench.weight("f16", data, 64)
        x = bench.buffer(np.ones((3, 64), np.float32))
        bench.device.write(bench.shared.step.handle, np.array([5, 3, 0, 0], np.uint32).tobytes())
        for source in ("positions", "first row"):
            await bench.run(embed(bench.shared, 3, weight, bench.shared.dummy, x, source=source, add=True))
        rows = quant.decode("f16", data)
        np.testing.assert_allclose(await bench.read(x, 3, 64), 1 + rows[5:8] + rows[0], rtol=1e-6)
