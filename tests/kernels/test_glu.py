import numpy as np
import pytest

from local_llm.ops.elementwise import glu
from tests.kernels.workbench import workbench
from tests.reference import linear, tolerance


@pytest.mark.parametrize("activation", ["silu", "gelu"])
async def test_glu(device, activation):
    rng = np.random.default_rng(5)
    with workbench(device) as bench:
        for tokens, width in [(1, 1), (3, 49), (130, 257), (2, 1536)]:
            x = rng.standard_normal((tokens, 2 * width), np.float32) * 3
            x[0, 0] = -200  # exp overflows f32
            y = bench.nans(tokens + 1, width)
            bench.set_count(tokens)
            await bench.run(glu(bench.shared, tokens + 1, bench.buffer(x), y, width, activation))
            got = await bench.read(y, tokens + 1, width)
            np.testing.assert_allclose(got[:tokens], linear.glu(x, activation), **tolerance.F32)
            assert np.isnan(got[tokens]).all()
