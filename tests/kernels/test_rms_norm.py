import numpy as np
import pytest

from local_llm.gpu.kernel import Kernel, pack
from tests.kernels.launch import launch
from tests.reference import ops, tolerance


@pytest.mark.parametrize(("tokens", "width"), [(1, 576), (3, 96), (130, 257), (7, 1), (2, 4096)])
async def test_rms_norm(device, tokens, width):
    rng = np.random.default_rng(width)
    x = rng.standard_normal((tokens, width), np.float32) * 10
    weight = rng.standard_normal(width, np.float32)
    y = np.full_like(x, np.nan)
    *_, y = await launch(device, Kernel.of("rms_norm"), [x, weight, y], (tokens, 1, 1), pack(width, 1e-5))
    np.testing.assert_allclose(y, ops.rms_norm(x, weight, 1e-5), **tolerance.F32)


async def test_what_is_added_to(device):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 7, 96), np.float32)
    weight = rng.standard_normal(96, np.float32)
    *_, after = await launch(device, Kernel.of("rms_norm", ADD=True), [x, weight, y], (7, 1, 1), pack(96, 1e-5))
    np.testing.assert_allclose(after, y + ops.rms_norm(x, weight, 1e-5), **tolerance.F32)
