import numpy as np
import pytest

from local_llm.ops.attention import Cache, Heads, attention
from tests.kernels.calls import bench
from tests.reference import attention as reference
from tests.reference import tolerance


async def run(
    device, software: bool, shape: Heads, position: int, tokens: int, count: int = 0, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Output and reference, both [count, H, E]; cache beyond the last position holds NaN."""
    count = count or tokens
    rng = np.random.default_rng([position, tokens, shape.width])
    q = rng.standard_normal((tokens, shape.heads + 2 * shape.kv_heads, shape.width), np.float32) * spread
    q[:, shape.heads :] = np.nan  # the keys and values of a step are read from the cache
    last = position + count
    places = max(shape.context, last)
    k, v = rng.standard_normal((2, shape.kv_heads, places, shape.width), np.float32).astype(np.float16)
    k[:, last:], v[:, last:] = np.nan, np.nan
    y = np.full((tokens, shape.heads, shape.width), np.nan, np.float32)
    held = [reference.ring(part[:, :last], shape.context) if shape.ring else part for part in (k, v)]
    with bench(device, software) as b:
        out = b.upload(y)
        b.set_step(position, count)
        if shape.bits == 8:
            held = reference.eight_bits(*held)
            k, v = reference.from_eight_bits(*reference.eight_bits(k, v), k.shape)
        cache = Cache(*(b.upload(part) for part in held))
        await b.run(attention(b.shared, tokens, shape, b.upload(q), cache, out))
        y = await b.read(out, y.shape)
    assert np.isnan(y[count:]).all()
    options = {"scale": shape.scale, "window": shape.window, "softcap": shape.softcap, "causal": shape.causal}
    return y[:count], reference.attention(q[:count, : shape.heads], k[:, :last], v[:, :last], position, **options)


def heads(heads: int, kv_heads: int, width: int, context: int, **options) -> Heads:
    return Heads(heads, kv_heads, width, width, context, True, width**-0.5, **options)


@pytest.mark.parametrize("width", [16, 20, 32, 36, 64, 80, 96, 128, 256])
async def test_shapes(device, software, width):
    for h, k in ((9, 3), (4, 1), (8, 8), (32, 8)):
        for position, tokens in ((0, 2), (65, 7)):
            shape = heads(h, k, width, 100)
            np.testing.assert_allclose(*await run(device, software, shape, position, tokens), **tolerance.DOT)


@pytest.mark.parametrize("position", [0, 1, 63, 64, 65, 500, 2000])
@pytest.mark.parametrize("tokens", [2, 7, 64, 130])
async def test_positions(device, software, position, tokens):
    shape = heads(4, 2, 64, position + tokens)
    np.testing.assert_allclose(*await run(device, software, shape, position, tokens), **tolerance.DOT)


@pytest.mark.parametrize("window", [1, 16, 512])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
async def test_window_and_softcap(device, software, window, softcap):
    shape = heads(4, 1, 64, 700, window=window, softcap=softcap)
    for position, tokens in ((0, 7), (10, 64), (570, 130)):
        np.testing.assert_allclose(*await run(device, software, shape, position, tokens), **tolerance.DOT)


@pytest.mark.parametrize(("position", "tokens"), [(0, 7), (10, 64), (79, 1), (80, 1), (570, 64), (636, 4), (700, 1)])
async def test_a_ring_that_begins_anew_anywhere(device, software, position, tokens):
    shape = heads(4, 2, 32, 80, window=16, ring=True)
    np.testing.assert_allclose(*await run(device, software, shape, position, tokens), **tolerance.DOT)


@pytest.mark.parametrize("window", [0, 9])
@pytest.mark.parametrize("tokens", [1, 2, 7, 66, 300])
async def test_all_tokens_see_each_other(device, software, tokens, window):
    shape = heads(4, 4, 32, 300, causal=False, window=window)
    np.testing.assert_allclose(*await run(device, software, shape, 0, tokens), **tolerance.DOT)


@pytest.mark.parametrize(("tokens", "count"), [(64, 1), (64, 17), (130, 16)])
async def test_a_chunk_that_is_not_full(device, software, tokens, count):
    np.testing.assert_allclose(*await run(device, software, heads(9, 3, 64, 300), 100, tokens, count), **tolerance.DOT)


async def test_scores_of_several_hundred(device, software):
    shape = heads(2, 1, 64, 300)
    for options in ({}, {"softcap": 50.0}):
        shape = heads(2, 1, 64, 300, **options)
        np.testing.assert_allclose(*await run(device, software, shape, 200, 64, spread=200.0), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("width", "tokens"), [(16, 1), (36, 1), (64, 1), (96, 1), (20, 7), (64, 7), (80, 7), (256, 7)])
async def test_eight_bits(device, software, width, tokens):
    shape = heads(9, 3, width, 200, bits=8)
    np.testing.assert_allclose(*await run(device, software, shape, 150, tokens), **tolerance.DOT)


@pytest.mark.parametrize(("position", "tokens"), [(10, 64), (79, 1), (80, 1), (570, 64), (636, 4)])
async def test_eight_bits_in_a_ring(device, software, position, tokens):
    shape = heads(4, 2, 32, 80, window=16, softcap=2.0, ring=True, bits=8)
    np.testing.assert_allclose(*await run(device, software, shape, position, tokens), **tolerance.DOT)
