import numpy as np
import pytest

from local_llm.ops.attention import Cache, Heads, key_bytes, rope_attention, rope_kv, value_bytes
from tests.kernels.calls import bench
from tests.reference import attention as reference
from tests.reference import tolerance

CONTEXT = 2200
SENTINEL = np.float16(-7.0)


ORDERS = pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
STEP = ("tokens", "count", "position", "heads", "kv_heads", "width", "rope_width")


@ORDERS
@pytest.mark.parametrize(
    STEP,
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
    assert key_bytes(shape) == empty.nbytes
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
        cache = Cache(b.memory.create(key_bytes(shape), "k"), b.memory.create(key_bytes(shape), "v"))
        b.set_step(0)
        qkv = np.repeat(np.array([[1.0, 1e5, -1e30]], np.float32), 32)
        await b.run(rope_kv(b.shared, 1, shape, b.upload(qkv), b.shared.dummy, cache))
        assert (await b.read(cache.k, (32,), np.float16) == 65504).all()
        assert (await b.read(cache.v, (32,), np.float16) == -65504).all()


async def test_positions_past_the_cache_are_left_out(device):
    shape = Heads(1, 2, 32, 0, 4, True, 1.0)
    with bench(device) as b:
        cache = Cache(b.memory.create(key_bytes(shape), "k"), b.memory.create(key_bytes(shape), "v"))
        b.set_step(3, 3)
        await b.run(rope_kv(b.shared, 3, shape, b.upload(np.ones((3, 5, 32), np.float32)), b.shared.dummy, cache))
        k = await b.read(cache.k, (2, 4, 32), np.float16)
        assert (k[:, 3] == 1).all()
        assert (k[:, :3] == 0).all()


async def test_positions_go_round_in_a_ring(device):
    shape = Heads(1, 2, 32, 0, 4, True, 1.0, ring=True)
    with bench(device) as b:
        cache = Cache(b.memory.create(key_bytes(shape), "k"), b.memory.create(key_bytes(shape), "v"))
        b.set_step(7, 3)
        qkv = np.repeat(np.arange(3, dtype=np.float32), 5 * 32) + 1
        await b.run(rope_kv(b.shared, 3, shape, b.upload(qkv), b.shared.dummy, cache))
        k = await b.read(cache.k, (2, 4, 32), np.float16)
        np.testing.assert_array_equal(k[0, :, 0], [2, 3, 0, 1])
        np.testing.assert_array_equal(k[0], k[1])


@ORDERS
@pytest.mark.parametrize(
    STEP,
    [
        (1, 1, 0, 9, 3, 64, 64),
        (7, 7, 64, 8, 8, 80, 32),
        (64, 13, 120, 4, 1, 256, 256),
        (7, 7, 65, 4, 2, 36, 18),
        (2, 2, 3, 2, 1, 16, 0),
    ],
)
async def test_eight_bits(device, tokens, count, position, heads, kv_heads, width, rope_width, interleaved):
    shape = Heads(heads, kv_heads, width, rope_width, 140, interleaved, 1.0, bits=8)
    rng = np.random.default_rng(tokens * width)
    qkv = rng.standard_normal((tokens, heads + 2 * kv_heads, width), np.float32)
    qkv[:, heads:, 32:] *= 100  # peaks of their own
    table = reference.rope_table(140, rope_width)
    empty = np.full((kv_heads, 140, width), np.nan)
    raw = reference.eight_bits(empty, empty)
    assert (key_bytes(shape), value_bytes(shape)) == tuple(part.nbytes for part in raw)
    with bench(device) as b:
        cache = Cache(*(b.upload(part) for part in raw))
        rope = b.upload(table) if rope_width else b.shared.dummy
        b.set_step(position, count)
        await b.run(rope_kv(b.shared, tokens, shape, b.upload(qkv), rope, cache))
        after = [await b.read(cache.k, raw[0].shape, np.uint8), await b.read(cache.v, raw[1].shape, np.uint8)]
    turned = reference.rotate(qkv[:count], table[position : position + count], interleaved)
    held = reference.from_eight_bits(after[0], after[1], (kv_heads, 140, width))
    for cached, values in zip(held, (turned[:, heads:-kv_heads], qkv[:count, -kv_heads:]), strict=True):
        reference.check_rounded(cached[:, position : position + count].swapaxes(0, 1), values)
        assert np.isnan(np.delete(cached, np.arange(position, position + count), axis=1)).all()


async def test_eight_bits_of_nothing_and_beyond_f16(device):
    shape = Heads(1, 1, 32, 0, 4, True, 1.0, bits=8)
    with bench(device) as b:
        cache = Cache(b.memory.create(key_bytes(shape), "k"), b.memory.create(value_bytes(shape), "v"))
        b.set_step(1)
        qkv = np.repeat(np.array([[1.0, 0.0, -1e30]], np.float32), 32)
        await b.run(rope_kv(b.shared, 1, shape, b.upload(qkv), b.shared.dummy, cache))
        raw = await b.read(cache.k, (cache.k.nbytes,), np.uint8), await b.read(cache.v, (128,), np.uint8)
        k, v = reference.from_eight_bits(raw[0], raw[1], (1, 4, 32))
    np.testing.assert_array_equal(k, 0)
    np.testing.assert_allclose(v[0], np.array([0, -65504, 0, 0])[:, None] * np.ones(32))


@pytest.mark.parametrize("ring", [False, True])
async def test_steps_keep_what_a_prompt_keeps_in_eight_bits(device, ring):
    shape = Heads(4, 2, 96, 96, 16, False, 1.0, ring=ring, window=8 if ring else 0, bits=8)
    qkv = np.random.default_rng(5).standard_normal((6, 8, 96), np.float32)
    table = reference.rope_table(64, 96)
    first = 13 if ring else 10
    with bench(device, False) as b:
        caches = [Cache(b.memory.create(key_bytes(shape), "k"), b.memory.create(value_bytes(shape), "v")) for _ in "ab"]
        rope, y = b.upload(table), b.memory.create(64 * 96 * 4, "y")
        for t in range(6):
            b.set_step(first + t)
            await b.run(rope_attention(b.shared, 1, shape, b.upload(qkv[t]), rope, caches[0], y))
        b.set_step(first, 6)
        await b.run(rope_kv(b.shared, 6, shape, b.upload(qkv), rope, caches[1]))
        steps, prompt = [
            (await b.read(one.k, (one.k.nbytes,), np.uint8), await b.read(one.v, (one.v.nbytes,), np.uint8))
            for one in caches
        ]
    for ours, theirs in zip(steps, prompt, strict=True):
        np.testing.assert_array_equal(ours, theirs)
