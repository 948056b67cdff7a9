import math

import numpy as np
import pytest

from local_llm.ops.elementwise import gelu
from tests.kernels.calls import bench
from tests.reference import tolerance


@pytest.mark.parametrize("count", [1, 257, 70000])
async def test_gelu(device, count):
    x = np.linspace(-12, 12, count + 1, dtype=np.float32)
    with bench(device) as b:
        buffer = b.upload(x)
        await b.run(gelu(b.shared, buffer, count))
        after = await b.read(buffer, x.shape)
    wanted = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x[:count].astype(float)]
    np.testing.assert_allclose(after[:count], wanted, **tolerance.F32)
    assert after[count] == x[count]
