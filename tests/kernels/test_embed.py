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
            await bench.run(embed(bench.shared, rows, weight, bench.buffer(ids), x))
            got = await bench.read(x, rows + 1, cols)
            np.testing.assert_array_max_ulp(got[:rows], quant.decode(format, data)[ids], 1)
            assert np.isnan(got[rows]).all()
