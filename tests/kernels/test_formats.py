"""Products and embeddings of the further formats, in fewer shapes than those of the simple ones have in other files."""

import numpy as np
import pytest

from local_llm.ops.embedding import embed
from tests.kernels import test_matmul, test_matvec, test_matvec_glu
from tests.kernels.workbench import workbench
from tests.reference import quant

FORMATS = quant.FURTHER_FORMATS
BOTH = pytest.mark.parametrize("software", [False, True], ids=["gpu", "serial"])


@BOTH
@pytest.mark.parametrize("format", FORMATS)
async def test_products(device, format, software):
    unit = quant.block_weights(format)
    with workbench(device, software=software) as bench:
        await test_matvec.check(bench, format, 50, 3 * unit, norm=True)
        await test_matmul.check(bench, format, 37, 50, 3 * unit)
        await test_matmul.check(bench, format, 1, 3, unit, recorded=2)
        if software:  # compiled in a moment, where kernels for GPUs take seconds; they include the same functions
            await test_matvec.check(bench, format, 3, 1280, norm=True)
            await test_matvec_glu.check(bench, format, 9, 3 * unit)


@pytest.mark.parametrize("format", FORMATS)
async def test_embed(device, format):
    rng = np.random.default_rng(3)
    ids = np.array([6, 0, 3, 3], np.uint32)
    cols = 3 * quant.block_weights(format)
    data = quant.random_weights(rng, format, 7, cols)
    with workbench(device) as bench:
        weight = await bench.weight(format, data, cols)
        x = bench.nans(4, cols)
        bench.set_count(4)
        await bench.run(embed(bench.shared, 4, weight, bench.buffer(ids), x, factor=2.0))
        np.testing.assert_array_max_ulp(await bench.read(x, 4, cols), 2 * quant.decode(format, data)[ids], 1)
