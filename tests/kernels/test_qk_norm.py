import numpy as np
import pytest

from local_llm.ops.attention import Heads, qk_norm
from tests.kernels.calls import bench
from tests.reference import attention as reference
from tests.reference import tolerance


@pytest.mark.parametrize("norm", ["head", "whole"])
@pytest.mark.parametrize(
    ("tokens", "count", "heads", "kv_heads", "width"),
    [(1, 1, 4, 2, 16), (7, 7, 9, 3, 36), (3, 2, 4, 1, 256), (2, 2, 16, 8, 128)],
)
async def test_qk_norm(device, software, tokens, count, heads, kv_heads, width, norm):
    shape = Heads(heads, kv_heads, width, width, 8, False, 1.0, norm=norm, eps=1e-5)
    rng = np.random.default_rng([tokens, width])
    qkv = rng.standard_normal((tokens, heads + 2 * kv_heads, width), np.float32)
    gains = rng.standard_normal((heads + kv_heads if norm == "whole" else 2, width), np.float32)
    with bench(device, software) as b:
        buffer = b.upload(qkv)
        b.set_step(5, count)
        await b.run(qk_norm(b.shared, tokens, shape, buffer, b.upload(gains)))
        after = await b.read(buffer, qkv.shape)
    wanted = qkv.copy()
    wanted[:count] = reference.qk_norm(qkv[:count], heads, gains, norm, 1e-5)
    np.testing.assert_allclose(after, wanted, **tolerance.F32)
