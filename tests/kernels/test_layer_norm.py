import numpy as np
import pytest

from local_llm.ops.elementwise import layer_norm
from tests.kernels.calls import bench
from tests.reference import tolerance


@pytest.mark.parametrize(("tokens", "width"), [(1, 384), (3, 96), (7, 257), (2, 1)])
async def test_layer_norm(device, tokens, width):
    rng = np.random.default_rng(width)
    x = rng.standard_normal((tokens, width), np.float32) * 5 + 3
    weight, bias = rng.standard_normal((2, width), np.float32)
    with bench(device) as b:
        buffer = b.upload(x)
        await b.run(layer_norm(b.shared, tokens, buffer, b.upload(weight), b.upload(bias), width, 1e-5))
        after = await b.read(buffer, x.shape)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(-1, keepdims=True)
    wanted = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(after, wanted, **tolerance.F32)
