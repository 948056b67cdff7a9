import numpy as np
import pytest

from tests.kernels.test_attention import heads, run
from tests.reference import tolerance


@pytest.mark.parametrize("width", [32, 36, 64, 80, 96, 128, 256])
async def test_shapes(device, software, width):
    for h, k in ((9, 3), (4, 1), (8, 8), (32, 8)):
        np.testing.assert_allclose(*await run(device, software, heads(h, k, width, 300), 290, 1), **tolerance.DOT)


@pytest.mark.parametrize("position", [0, 1, 63, 64, 65, 255, 256, 500, 2000])
async def test_positions(device, software, position):
    shape = heads(9, 3, 64, position + 1)
    np.testing.assert_allclose(*await run(device, software, shape, position, 1), **tolerance.DOT)


@pytest.mark.parametrize("window", [1, 16, 512])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
async def test_window_and_softcap(device, software, window, softcap):
    shape = heads(4, 1, 64, 2001, window=window, softcap=softcap)
    for position in (0, 10, 15, 16, 511, 512, 2000):
        np.testing.assert_allclose(*await run(device, software, shape, position, 1), **tolerance.DOT)
