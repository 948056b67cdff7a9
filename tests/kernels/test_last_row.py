import numpy as np
import pytest

from local_llm.ops.elementwise import last_row
from tests.kernels.workbench import workbench


@pytest.mark.parametrize(("tokens", "count", "width"), [(1, 1, 576), (5, 3, 65), (130, 130, 96)])
async def test_last_row(device, tokens, count, width):
    x = np.random.default_rng(6).standard_normal((tokens, width), np.float32)
    with workbench(device) as bench:
        bench.set_count(count)
        y = bench.nans(width + 1)
        await bench.run(last_row(bench.shared, bench.buffer(x), y, width))
        got = await bench.read(y, width + 1)
        np.testing.assert_array_equal(got[:width], x[count - 1])
        assert np.isnan(got[width])
