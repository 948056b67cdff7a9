import numpy as np
import pytest

from local_llm.ops.attention import Cache, Heads, cache_bytes, rope_kv
from tests.kernels.calls import bench
from tests.reference import attention as reference
from tests.reference import tolerance

CONTEXT = 2200
SENTINEL = np.float16(-7.0)


@pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
@pytest.mark.parametrize(
    ("tokens", "count", "position", "heads", "kv_heads", "width", "rope_width"),
    [
        (1, 1, 0, 9, 3, 64, 64),
        (2, 2, 63, 4, 1, 32, 32),
        (7, 7, 64, 8, 8, 80, 32),
        (64, 64, 1, 9, 3, 96, 96),
        (130, 130, 2000, 4, 1, 256, 256),
        (64, 13, 500, 32, 8, 128, 64),  # a chunk that is not full
        (7, 7, 65, 4, 2, 36, 18),  # halves of odd length
        (1, 1, 2199, 2, 1, 64, 64),  # the last place
        (2, 2, 3, 2, 1, 32, 0),  # no rotation
    ],
)
async def test_rope_kv(device, tokens, count, position, heads, kv_heads, width, rope_width, interleaved):
    shape = Heads(heads, kv_heads, width, rope_width, CONTEXT, interleaved, 1.0)
    rng = np.random.default_rng(tokens * width)
    qkv = rng.standard_normal((tokens, heads + 2 * kv_heads, width), np.float32)
    table = reference.rope_table(CONTEXT, rope_width)
    empty = np.full((kv_heads, CONTEXT, width), SENTINEL)
    assert cache_bytes(shape) == empty.nbytes
    with bench(device) as b:
        cache = Cache(b.upload(empty), b.upload(empty))
        buffer, rope = b.upload(qkv), b.upload(table) if rope_width else b.shared.dummy
        b.set_step(position, count)
        await b.run(rope_kv(b.shared, tokens, shape, buffer, rope, cache))
        after = await b.read(buffer, qkv.shape)
        k = await b.read(cache.k, empty.shape, np.float16)
        v = await b.read(cache.v, empty.shape, np.float16)

    turned = reference.rotate(qkv[:count], table[position : position + count], interleaved)
    np.testing.assert_allclose(after[:count, :heads], turned[:, :heads], **tolerance.F32)
    np.testing.assert_array_equal(after[count:], qkv[count:])
    np.testing.assert_array_equal(after[:, heads:], qkv[:, heads:])
    written = slice(position, position + count)
    for cached, values in ((k, turned[:, heads:-kv_heads]), (v, qkv[:count, -kv_heads:])):
        np.testing.assert_allclose(cached[:, written].swapaxes(0, 1), values, **tolerance.F16)
        assert (np.delete(cached, np.arange(position, position + count), axis=1) == SENTINEL).all()


async def test_values_beyond_f16_saturate(device):
    shape = Heads(1, 1, 32, 0, 4, True, 1.0)
    with bench(device) as b:
        cache = Cache(b.memory.create(cache_bytes(shape), "k"), b.memory.create(cache_bytes(shape), "v"))
        b.set_step(0)
        qkv = np.repeat(np.array([[1.0, 1e5, -1e30]], np.float32), 32)
        await b.run(rope_kv(b.shared, 1, shape, b.upload(qkv), b.shared.dummy, cache))
        assert (await b.read(cache.k, (32,), np.float16) == 65504).all()
        assert (await b.read(cache.v, (32,), np.float16) == -65504).all()


async def test_positions_past_the_cache_are_left_out(device):
    shape = Heads(1, 2, 32, 0, 4, True, 1.0)
    with bench(device) as b:
        cache = Cache(b.memory.create(cache_bytes(shape), "k"), b.memory.create(cache_bytes(shape), "v"))
        b.set_step(3, 3)
        await b.run(rope_kv(b.shared, 3, shape, b.upload(np.ones((3, 5, 32), np.float32)), b.shared.dummy, cache))
        k = await b.read(cache.k, (2, 4, 32), np.float16)
        assert (k[:, 3] == 1).all()
        assert (k[:, :3] == 0).all()


async def test_positions_go_round_in_a_ring(device):
    shape = Heads(1, 2, 32, 0, 4, True, 1.0, ring=True)
    with bench(device) as b:
        cache = Cache(b.memory.create(cache_bytes(shape), "k"), b.memory.create(cache_bytes(shape), "v"))
        b.set_step(7, 3)
        qkv = np.repeat(np.arange(3, dtype=np.float32), 5 * 32) + 1
        await b.run(rope_kv(b.shared, 3, shape, b.upload(qkv), b.shared.dummy, cache))
        k = await b.read(cache.k, (2, 4, 32), np.float16)
        np.testing.assert_array_equal(k[0, :, 0], [2, 3, 0, 1])
        np.testing.assert_array_equal(k[0], k[1])
