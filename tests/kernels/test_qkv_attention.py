"""Projections and attention in one launch leave what the launches apart leave, bit by bit."""

import numpy as np
import pytest

from local_llm.ops.attention import MOST_PARTS, Cache, Heads, attention_few, few_left, parts_for
from local_llm.ops.few import matvec_few
from local_llm.ops.linear import matvec
from local_llm.ops.qkv_attention import apart, fits, lanes_of, qkv_attention
from local_llm.ops.variants import INT8_FORMATS, Variant
from local_llm.ops.weight import FORMATS, allocate
from tests.kernels.workbench import workbench
from tests.reference import attention as reference
from tests.reference import quant, tolerance

EPS = 1e-5


async def run(device, shape: Heads, format: str, cols: int, position: int, reach: int = 0, biased: bool = False):
    """What is left of a token, and the caches, by one launch and by a step of few tokens that has this one alone."""
    rng = np.random.default_rng([position, cols])
    rows = (shape.heads + 2 * shape.kv_heads) * shape.width
    places = max(shape.context, position + 1)
    k, v = rng.standard_normal((2, shape.kv_heads, places, shape.width), np.float32).astype(np.float16)
    k[:, position:], v[:, position:] = np.nan, np.nan
    if shape.ring:
        k, v = (reference.ring(part[:, :position], shape.context) for part in (k, v))
    if shape.bits == 8:
        k, v = reference.eight_bits(k, v)
    x = rng.standard_normal(cols, np.float32)
    gain = rng.uniform(0.5, 1.5, cols).astype(np.float32)
    with workbench(device, software=False) as b:
        weight = await b.weight(format, quant.random_weights(rng, format, rows, cols), cols)
        assert fits(b.shared.caps, weight, shape)
        device.write(b.shared.step.handle, np.array([position, 1, 0, 0], np.uint32).tobytes())
        table = reference.rope_table(places, shape.rope_width)
        rope = b.buffer(table) if shape.rope_width else b.shared.dummy
        bias = b.buffer(rng.standard_normal(rows, np.float32)) if biased else None
        given, norm, qkv = b.buffer(x), b.buffer(gain), b.nans(rows)
        left = parts_for(b.shared, 1, shape, reach, past=True)
        assert left is not None
        heads, kv_heads, width = shape.heads, shape.kv_heads, shape.width
        size = heads * left.count * (width + 4) + (heads + 2 * kv_heads) * width

        async def found(calls, cache, y):
            await b.run(calls)
            sizes = (size, *(part.nbytes // 4 for part in (cache.k, cache.v)))
            return [await b.read(buffer, size) for buffer, size in zip((y, cache.k, cache.v), sizes, strict=True)]

        cache, y = Cache(b.buffer(k), b.buffer(v)), b.nans(2 * MOST_PARTS * heads * width)
        one = await found(
            qkv_attention(b.shared, weight, given, norm, bias, EPS, shape, rope, cache, y, reach), cache, y
        )
        cache, y = Cache(b.buffer(k), b.buffer(v)), b.nans(2 * MOST_PARTS * heads * width)
        calls = matvec_few(
            b.shared, 1, weight, given, qkv, y_stride=rows, norm=norm, bias=bias, eps=EPS, variant=apart(weight)
        )
        calls += attention_few(
            b.shared, 1, shape, qkv, rope, cache, y, parts=left.count, past=lanes_of(b.shared.caps, weight)
        )
        return one, await found(calls, cache, y)


def check(one, apart):
    assert not np.isnan(one[0]).any()
    for got, wanted in zip(one, apart, strict=True):
        np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "rope_width", "cols"),
    [(9, 3, 64, 64, 576), (4, 1, 32, 32, 96), (2, 2, 80, 32, 640), (3, 1, 128, 128, 384), (2, 1, 16, 0, 1024)],
)
@pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
async def test_shapes(device, heads, kv_heads, width, rope_width, cols, interleaved):
    shape = Heads(heads, kv_heads, width, rope_width, 300, interleaved, width**-0.5)
    check(*await run(device, shape, "q4_1", cols, 270))


@pytest.mark.parametrize("format", quant.FORMATS)
async def test_formats(device, format):
    check(*await run(device, Heads(2, 1, 64, 64, 40, True, 0.125), format, 256, 33))


@pytest.mark.parametrize("position", [0, 1, 15, 16, 255, 256, 299])
async def test_positions(device, position):
    check(*await run(device, Heads(4, 2, 64, 64, 300, True, 0.125), "q4_1", 64, position))


@pytest.mark.parametrize("reach", [512, 4096])
async def test_parts(device, reach):
    for position in (0, 3, 130, 500):
        check(*await run(device, Heads(3, 1, 64, 64, 5000, True, 0.125), "q4_0", 64, position, reach))


@pytest.mark.parametrize("format", FORMATS)
async def test_every_format_compiles_and_so_does_what_joins_its_parts(device, format):
    shape = Heads(4, 2, 64, 64, 40, True, 0.125)
    with workbench(device, software=False) as b:
        weight = allocate(b.memory, b.shared.caps, format, 512, 256, "weight")
        cache, y, out = Cache(b.nans(2 * 40 * 32), b.nans(2 * 40 * 32)), b.nans(9999), b.nans(9999)
        x, table, left = b.nans(256), b.nans(40 * 64), few_left(shape, 1, 256)
        calls = qkv_attention(b.shared, weight, x, x, None, EPS, shape, table, cache, y)
        calls += matvec(b.shared, weight, y, out, parts=left)
        calls += matvec_few(b.shared, 4, weight, y, out, y_stride=512, parts=left, each=4)
        if format in INT8_FORMATS:
            rounding = Variant("", {"LANES": 32, "TEAMS": 8, "ROWS": 2}, 16, int8=True)
            calls += matvec_few(b.shared, 4, weight, y, out, y_stride=512, parts=left, each=2, variant=rounding)
        await b.run(calls)


async def test_biases(device):
    check(*await run(device, Heads(14, 2, 64, 64, 300, False, 0.125), "q4_0", 896, 40, biased=True))


async def test_a_ring(device):
    shape = Heads(4, 2, 32, 32, 96, False, 0.2, window=80, ring=True)
    for position in (0, 78, 94, 95, 96, 300):
        check(*await run(device, shape, "q8_0", 64, position))


@pytest.mark.parametrize("position", [0, 1, 40, 299])
@pytest.mark.parametrize("window", [0, 1, 30])
async def test_joined_with_the_newest_position_it_is_attention(device, position, window):
    """By a product with the identity matrix."""
    shape, cols = Heads(6, 2, 32, 32, 300, True, 0.2, window=window), 64
    rng = np.random.default_rng(position)
    rows, width = (shape.heads + 2 * shape.kv_heads) * shape.width, shape.heads * shape.width
    k, v = rng.standard_normal((2, shape.kv_heads, shape.context, shape.width), np.float32).astype(np.float16)
    k[:, position:], v[:, position:] = np.nan, np.nan
    x, gain = rng.standard_normal(cols, np.float32), rng.uniform(0.5, 1.5, cols).astype(np.float32)
    matrix = rng.standard_normal((rows, cols), np.float32)
    table = reference.rope_table(shape.context, shape.rope_width)
    with workbench(device, software=False) as b:
        weight = await b.weight("f32", matrix.view(np.uint8), cols)
        one = await b.weight("f32", np.eye(width, dtype=np.float32).view(np.uint8), width)
        device.write(b.shared.step.handle, np.array([position, 1, 0, 0], np.uint32).tobytes())
        cache, y, joined = Cache(b.buffer(k), b.buffer(v)), b.nans(2 * MOST_PARTS * width), b.nans(width)
        reach = 300 if position > 40 else 0
        calls = qkv_attention(
            b.shared, weight, b.buffer(x), b.buffer(gain), None, EPS, shape, b.buffer(table), cache, y, reach
        )
        calls += matvec(b.shared, one, y, joined, parts=parts_for(b.shared, 1, shape, reach, past=True))
        await b.run(calls)
        got = await b.read(joined, 1, shape.heads, shape.width)
    normed = x / np.sqrt(np.mean(x * x) + EPS) * gain
    qkv = (matrix @ normed).reshape(1, -1, shape.width)
    turned = reference.rotate(qkv, table[position : position + 1], shape.interleaved)
    k[:, position], v[:, position] = turned[0, shape.heads : -shape.kv_heads], qkv[0, -shape.kv_heads :]
    seen = slice(0, position + 1)
    wanted = reference.attention(
        turned[:, : shape.heads], k[:, seen], v[:, seen], position, scale=shape.scale, window=window, softcap=0.0
    )
    np.testing.assert_allclose(got, wanted, **tolerance.DOT)
