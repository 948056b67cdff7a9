import numpy as np
import pytest

from local_llm.ops.vector import allocate_vector, repack_vector
from tests.kernels.calls import bench
from tests.reference import tolerance


def stored(values, format):
    """The bytes of a file, and what they say."""
    if format == "bf16":
        high = (values.view(np.uint32) >> 16).astype(np.uint16)
        return high.tobytes(), (high.astype(np.uint32) << 16).view(np.float32)
    kept = values.astype({"f32": np.float32, "f16": np.float16}[format])
    return kept.tobytes(), kept.astype(np.float32)


@pytest.mark.parametrize("format", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("offset", [0, 2, 35])
async def test_two_vectors_one_behind_the_other(device, format, offset):
    rng = np.random.default_rng(offset)
    with bench(device) as b:
        y = allocate_vector(b.memory, 257 + 64, "vector")
        wanted = []
        for first, count, addend in ((0, 257, 1.0), (257, 64, 0.0)):
            data, values = stored(rng.standard_normal(count, np.float32), format)
            raw = b.memory.upload(b"\xff" * offset + data, "raw")
            await b.run(repack_vector(format, raw, offset, y, first, count, factor=0.5, addend=addend))
            wanted.append(np.float32(0.5) * values + np.float32(addend))
        got = await b.read(y, (352,))
    np.testing.assert_allclose(got[:321], np.concatenate(wanted), **tolerance.F32)
    assert not got[321:].any()
