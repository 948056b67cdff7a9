import numpy as np
import pytest

from local_llm.ops.elementwise import softcap
from tests.kernels.calls import bench
from tests.reference import tolerance


@pytest.mark.parametrize("count", [1, 257, 70000])
async def test_softcap(device, count):
    x = np.random.default_rng(count).standard_normal(count + 1, np.float32) * 40
    x[0] = 1e30
    with bench(device) as b:
        buffer = b.upload(x)
        await b.run(softcap(b.shared, buffer, count, 30.0))
        after = await b.read(buffer, x.shape)
    np.testing.assert_allclose(after[:count], 30 * np.tanh(x[:count] / 30), **tolerance.F32)
    assert after[count] == x[count]
