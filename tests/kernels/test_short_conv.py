import numpy as np
import pytest

from local_llm.ops.convolution import short_conv
from tests.kernels.calls import bench
from tests.reference import tolerance


@pytest.mark.parametrize("taps", [3, 7])
@pytest.mark.parametrize("chunks", [[1], [5, 1, 1, 4, 2], [1, 1, 1, 1, 9]])
async def test_short_conv_in_a_ring_that_begins_anew(device, taps, chunks):
    width, slots, total = 70, 9 + taps - 1, sum(chunks)
    rng = np.random.default_rng(taps)
    b, c, x = rng.standard_normal((3, total, width), np.float32)
    weight = rng.standard_normal((width, taps), np.float32)
    padded = np.concatenate([np.zeros((taps - 1, width)), b * x])
    wanted = c * sum(weight[:, k] * padded[k : k + total] for k in range(taps))
    got, start = [], 0
    with bench(device) as rig:
        gains, cache = rig.upload(weight), rig.upload(np.full((slots, width), np.nan, np.float32))
        for count in chunks:
            bcx = np.concatenate([part[start : start + count] for part in (b, c, x)], -1)
            y = rig.upload(np.full((count + 1, width), np.nan, np.float32))
            rig.set_step(start, count)
            await rig.run(short_conv(rig.shared, count + 1, rig.upload(bcx), gains, cache, y, width, taps, slots))
            after = await rig.read(y, (count + 1, width))
            assert np.isnan(after[count]).all()
            got.append(after[:count])
            start += count
    np.testing.assert_allclose(np.concatenate(got), wanted, **tolerance.F32)
