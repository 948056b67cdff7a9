"""The fused decode kernel against rotating, caching and attending in numpy; the cache must hold what rope_kv writes."""

import numpy as np
import pytest

from local_llm.ops.attention import MOST_PARTS, Cache, Heads, parts_for, rope_attention
from local_llm.ops.linear import Parts
from tests.kernels.calls import bench
from tests.reference import attention as reference
from tests.reference import tolerance


def joined(raw: np.ndarray, left: Parts | None, shape: Heads) -> np.ndarray:
    """[1, H, E] of what the kernel leaves."""
    if left is None:
        return raw[: shape.heads * shape.width].reshape(1, shape.heads, shape.width)
    parts = left.count
    sums = raw[: shape.heads * parts * shape.width].reshape(shape.heads, parts, shape.width)
    rest = raw[sums.size : sums.size + 4 * shape.heads * parts].reshape(shape.heads, parts, 4)
    weights = np.exp(rest[..., 0] - rest[..., 0].max(axis=1, keepdims=True))
    return (sums * weights[..., None]).sum(1)[None] / (weights * rest[..., 1]).sum(1)[None, :, None]


async def run(device, shape: Heads, position: int, reach: int = 0):
    """Output and reference [H, E], then the caches as they are and as they should be.

    With 8 bits the reference takes the newest key and value as they were kept: so they are read later.
    """
    rng = np.random.default_rng([position, shape.width])
    qkv = rng.standard_normal((1, shape.heads + 2 * shape.kv_heads, shape.width), np.float32)
    places = max(shape.context, position + 1)
    k, v = rng.standard_normal((2, shape.kv_heads, places, shape.width), np.float32).astype(np.float16)
    k[:, position:], v[:, position:] = np.nan, np.nan  # the newest place too: nobody may read it from there
    table = reference.rope_table(places, shape.rope_width)
    parts = shape.heads + shape.kv_heads if shape.norm == "whole" else 2
    gains = rng.standard_normal((parts, shape.width), np.float32) if shape.norm else None

    def hold(part):
        return reference.ring(part[:, : position + 1], shape.context) if shape.ring else part

    held = hold(k), hold(v)
    if shape.bits == 8:
        held = reference.eight_bits(*held)
        k, v = reference.from_eight_bits(*reference.eight_bits(k, v), k.shape)
    with bench(device, False) as b:
        out = b.upload(np.full((2 * MOST_PARTS, shape.heads, shape.width), np.nan, np.float32))
        cache = Cache(*(b.upload(part) for part in held))
        rope = b.upload(table) if shape.rope_width else b.shared.dummy
        b.set_step(position, 1)
        gain = b.upload(gains) if gains is not None else None
        calls = rope_attention(b.shared, 1, shape, b.upload(qkv), rope, cache, out, gain, reach)
        assert [call.kernel.name for call in calls] == ["attention_step"]
        await b.run(calls)
        raw = await b.read(out, (2 * MOST_PARTS * shape.heads * shape.width,))
        y = joined(raw, parts_for(b.shared, 1, shape, reach), shape)
        after = [
            await b.read(buffer, part.shape, part.dtype.type)
            for buffer, part in zip((cache.k, cache.v), held, strict=True)
        ]
    normed = reference.qk_norm(qkv, shape.heads, gains, shape.norm, shape.eps) if gains is not None else qkv
    turned = reference.rotate(normed, table[position : position + 1], shape.interleaved)
    new_k, new_v = turned[0, shape.heads : -shape.kv_heads], qkv[0, -shape.kv_heads :]
    if shape.bits == 8:
        after = reference.from_eight_bits(*after, hold(k).shape)
        place = position % shape.context
        reference.check_rounded(after[0][:, place], new_k)
        reference.check_rounded(after[1][:, place], new_v)
        new_k, new_v = after[0][:, place], after[1][:, place]
    k[:, position], v[:, position] = new_k.astype(k.dtype), new_v.astype(v.dtype)
    options = {"scale": shape.scale, "window": shape.window, "softcap": shape.softcap}
    seen = slice(0, position + 1)
    wanted = reference.attention(turned[:, : shape.heads], k[:, seen], v[:, seen], position, **options)
    return y, wanted, after, (hold(k), hold(v))


def check(y, wanted, after, caches):
    np.testing.assert_allclose(y, wanted, **tolerance.DOT)
    for got, cache in zip(after, caches, strict=True):
        np.testing.assert_allclose(got, cache, **tolerance.F16)  # NaN stays where nothing was written


@pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "rope_width"),
    [(9, 3, 64, 64), (4, 1, 32, 32), (8, 8, 80, 32), (32, 8, 128, 128), (4, 1, 256, 256), (2, 1, 96, 0)],
)
async def test_shapes(device, heads, kv_heads, width, rope_width, interleaved):
    shape = Heads(heads, kv_heads, width, rope_width, 300, interleaved, width**-0.5)
    check(*await run(device, shape, 270))


@pytest.mark.parametrize("position", [0, 1, 63, 255, 256, 257, 511, 512, 2000])
async def test_positions(device, position):
    check(*await run(device, Heads(4, 2, 64, 64, position + 1, True, 0.125), position))


@pytest.mark.parametrize("window", [1, 16, 512])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
async def test_window_and_softcap(device, window, softcap):
    shape = Heads(4, 1, 64, 64, 2001, True, 0.125, window=window, softcap=softcap)
    for position in (0, 15, 16, 511, 512, 2000):
        check(*await run(device, shape, position))


@pytest.mark.parametrize("norm", ["head", "whole"])
@pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
async def test_norms_of_q_and_k(device, norm, interleaved):
    for heads, kv_heads, width, rope_width in ((16, 8, 128, 128), (4, 1, 256, 256), (4, 2, 16, 8)):
        shape = Heads(heads, kv_heads, width, rope_width, 300, interleaved, 0.1, norm=norm, eps=1e-5)
        check(*await run(device, shape, 270))


@pytest.mark.parametrize("position", [0, 15, 16, 299, 300, 600, 899, 1000])
async def test_a_ring_that_begins_anew_anywhere(device, position):
    check(*await run(device, Heads(4, 2, 32, 32, 300, True, 0.2, window=290, ring=True), position))


@pytest.mark.parametrize("reach", [128, 512, 1024, 4096, 5000])
async def test_parts(device, reach):
    shape = Heads(3, 1, 64, 64, 5000, True, 0.125)
    for position in (0, 2, 3, 40, 130, 600):  # fewer positions than parts, parts of one chunk and of several
        check(*await run(device, shape, position, reach))
    ring = Heads(3, 1, 64, 64, 96, False, 0.125, window=80, softcap=2.0, ring=True)
    check(*await run(device, ring, 300, reach))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "rope_width", "norm"),
    [(9, 3, 64, 64, ""), (4, 2, 16, 8, "head"), (3, 3, 80, 32, ""), (2, 1, 96, 0, ""), (4, 1, 256, 256, "whole")],
)
async def test_eight_bits(device, heads, kv_heads, width, rope_width, norm):
    shape = Heads(heads, kv_heads, width, rope_width, 300, True, width**-0.5, norm=norm, eps=1e-5, bits=8)
    check(*await run(device, shape, 270))


@pytest.mark.parametrize("position", [0, 511, 2000])
async def test_eight_bits_in_parts(device, position):
    check(*await run(device, Heads(4, 2, 128, 128, position + 1, False, 0.1, bits=8), position))


@pytest.mark.parametrize("position", [15, 300, 1000])
async def test_eight_bits_in_a_ring(device, position):
    check(*await run(device, Heads(4, 2, 32, 32, 300, True, 0.2, window=290, ring=True, bits=8), position))
