"""The kernels for a few tokens give each token what the kernels for one token give it, bit by bit."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm.ops import few
from local_llm.ops.attention import (
    MOST_PARTS,
    Cache,
    Heads,
    attention_few,
    few_parts,
    parts_for,
    rope_attention,
    split,
)
from local_llm.ops.linear import Parts, matvec, matvec_glu
from local_llm.ops.variants import few_bytes, matvec_variant
from tests.kernels.calls import bench
from tests.kernels.workbench import workbench
from tests.reference import attention as reference
from tests.reference import quant

EPS = 1e-5


@pytest.mark.parametrize("format", quant.FORMATS)
async def test_formats(device, format):
    with workbench(device, software=False) as b:
        await check(b, format, 9, 256, 2)


@pytest.mark.parametrize(
    ("each", "rows", "cols"), [(1, 70, 576), (2, 9, 672), (4, 9, 1504), (2, 2, 4128), (4, 8200, 32)]
)
async def test_shapes_norms_biases_and_sums(device, each, rows, cols):
    """Of all sorts of workgroups."""
    with workbench(device, software=False) as b:
        await check(b, "q4_0", rows, cols, each, norm=True, add=True, bias=True)


async def test_split_weight(device):
    with workbench(device, software=False, max_binding_bytes=20 * 3 * 16, max_workgroups=3) as b:
        await check(b, "q4_1", 70, 96, 4, norm=True, bias=True, add=True)


async def check(b, format, rows, cols, each, *, norm=False, bias=False, add=False, tokens=4, count=3):
    rng = np.random.default_rng(rows)
    weight = await b.weight(format, quant.random_weights(rng, format, rows, cols), cols)
    x = rng.standard_normal((tokens, cols), np.float32)
    before = rng.standard_normal((tokens, rows + 9), np.float32)
    options = {
        "norm": b.buffer(rng.uniform(0.5, 1.5, cols).astype(np.float32)) if norm else None,
        "eps": EPS,
        "bias": b.buffer(rng.standard_normal(rows, np.float32)) if bias else None,
        "add": add,
        "row_offset": 5,
    }
    b.set_count(count)
    y = b.buffer(before)
    await b.run(few.matvec_few(b.shared, tokens, weight, b.buffer(x), y, y_stride=rows + 9, each=each, **options))
    got = await b.read(y, tokens, rows + 9)
    wanted = before.copy()
    for t in range(count):
        y = b.buffer(before[t])
        await b.run(matvec(b.shared, weight, b.buffer(x[t]), y, **options))
        wanted[t] = await b.read(y, rows + 9)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("each", "activation", "format"), [(1, "silu", "q4_1"), (2, "gelu", "q8_0"), (4, "silu", "q4_0")]
)
async def test_glu(device, each, activation, format):
    rng, width, cols = np.random.default_rng(each), 25, 576
    with workbench(device, software=False) as b:
        weight = await b.weight(format, quant.random_weights(rng, format, 2 * width, cols), cols)
        x = rng.standard_normal((5, cols), np.float32)
        gain = b.buffer(rng.uniform(0.5, 1.5, cols).astype(np.float32))
        b.set_count(5)
        y = b.nans(5, width)
        options = {"norm": gain, "eps": EPS, "activation": activation}
        await b.run(few.matvec_few_glu(b.shared, 5, weight, b.buffer(x), y, each=each, **options))
        got = await b.read(y, 5, width)
        for t in range(5):
            y = b.nans(width)
            await b.run(matvec_glu(b.shared, weight, b.buffer(x[t]), y, **options))
            np.testing.assert_array_equal(got[t], await b.read(y, width))


@pytest.mark.parametrize("parts", [4, 16])
async def test_input_in_parts(device, parts):
    heads, width, rows, tokens = 3, 32, 40, 3
    rng = np.random.default_rng(parts)
    sums = rng.standard_normal((tokens, heads * parts * width)).astype(np.float32)
    scores = rng.uniform(0.1, 9, (tokens, heads * parts * 4)).astype(np.float32)
    raw = np.concatenate([sums, scores], 1)
    with workbench(device, software=False) as b:
        weight = await b.weight("q4_0", quant.random_weights(rng, "q4_0", rows, heads * width), heads * width)
        b.set_count(tokens)
        y, left = b.nans(tokens, rows), Parts(parts, width)
        await b.run(few.matvec_few(b.shared, tokens, weight, b.buffer(raw), y, y_stride=rows, parts=left))
        got = await b.read(y, tokens, rows)
        for t in range(tokens):
            y = b.nans(rows)
            await b.run(matvec(b.shared, weight, b.buffer(raw[t]), y, parts=left))
            np.testing.assert_array_equal(got[t], await b.read(y, rows))


async def test_large_matrices_share_what_is_read_and_workgroup_memory_limits_how_many(device):
    with workbench(device, software=False, workgroup_bytes=32768) as b:
        weight = await b.weight("q8_0", np.zeros((4096, 2176), np.uint8), 2048)
        variant = matvec_variant(b.shared, weight)
        assert few.tokens_each(b.shared, weight, variant, 4) == 4
        assert few.tokens_each(b.shared, weight, variant, 2) == 2
        assert few.tokens_each(b.limited(workgroup_bytes=16384).shared, weight, variant, 4) == 2
        room = b.shared.caps.workgroup_bytes - few_bytes(variant, 4)
        for joined, most in ((room // 4, 4), (room // 4 + 1, 2)):
            assert few.tokens_each(b.shared, weight, variant, 4, joined=joined) == most
        assert few.tokens_each(b.shared, replace(weight, parts=()), variant, 4) == 1


async def read_all(b, buffer):
    return await b.read(buffer, (buffer.nbytes,), np.uint8)


async def attend(device, shape: Heads, position: int, reach: int = 0, tokens: int = 4, count: int = 4):
    """Output and caches of one launch for several tokens, and of one launch after the other."""
    rng = np.random.default_rng([position, shape.width])
    qkv = rng.standard_normal((tokens, shape.heads + 2 * shape.kv_heads, shape.width), np.float32)
    places = max(shape.context, position + tokens)
    k, v = rng.standard_normal((2, shape.kv_heads, places, shape.width), np.float32).astype(np.float16)
    k[:, position:], v[:, position:] = np.nan, np.nan
    if shape.ring:
        k, v = (reference.ring(part[:, :position], shape.context) for part in (k, v))
    if shape.bits == 8:
        k, v = reference.eight_bits(k, v)
    table = reference.rope_table(places, shape.rope_width)
    parts = shape.heads + shape.kv_heads if shape.norm == "whole" else 2
    gains = rng.standard_normal((parts, shape.width), np.float32)
    with bench(device, False) as b:
        rope, gain = b.upload(table), b.upload(gains) if shape.norm else None
        left = parts_for(b.shared, 1, shape, reach)
        width = shape.heads * shape.width
        size = left.count * shape.heads * (shape.width + 4) if left else width

        async def run(rows, first, steps):
            out = b.upload(np.full((tokens, 2 * MOST_PARTS * width), np.nan, np.float32))
            b.set_step(first, steps)
            if rows > 1:
                calls = attention_few(
                    b.shared, rows, shape, b.upload(qkv), rope, cache, out, gain, split(shape, reach)[0]
                )
            else:
                own = b.upload(qkv[first - position])
                calls = rope_attention(b.shared, 1, shape, own, rope, cache, out, gain, reach)
            assert len(calls) == 1
            await b.run(calls)
            return await b.read(out, (tokens * size,))

        cache = Cache(b.upload(k), b.upload(v))
        got = (await run(tokens, position, count)).reshape(tokens, size)[:count]
        after = [await read_all(b, buffer) for buffer in (cache.k, cache.v)]
        cache = Cache(b.upload(k), b.upload(v))
        wanted = [(await run(1, position + t, 1))[:size] for t in range(count)]
        wanted_after = [await read_all(b, buffer) for buffer in (cache.k, cache.v)]
    np.testing.assert_array_equal(got, np.stack(wanted))
    assert not np.isnan(got).any()
    for ours, theirs in zip(after, wanted_after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("norm", ["", "head", "whole"])
@pytest.mark.parametrize("interleaved", [True, False], ids=["pairs", "halves"])
async def test_attention(device, norm, interleaved):
    shape = Heads(6, 2, 32, 16, 300, interleaved, 0.1, norm=norm, eps=EPS)
    for position in (0, 270):
        await attend(device, shape, position, 128)


async def test_attention_of_wide_heads_and_many_tokens(device):
    await attend(device, Heads(2, 1, 256, 256, 60, True, 0.1, norm="head", eps=EPS), 40, tokens=8, count=8)


@pytest.mark.parametrize("reach", [512, 4096])
async def test_attention_in_parts(device, reach):
    shape = Heads(3, 1, 64, 64, 5000, True, 0.125)
    for position in (1, 510):
        await attend(device, shape, position, reach, count=3)


async def test_attention_in_a_ring(device):
    shape = Heads(4, 2, 32, 32, 96, False, 0.2, window=80, softcap=2.0, ring=True)
    for position in (78, 94, 300):
        await attend(device, shape, position)


@pytest.mark.parametrize(
    ("width", "tokens", "options"),
    [
        (64, 4, {}),
        (80, 8, {}),  # rows that do not fill a workgroup
        (256, 8, {"norm": "head"}),
        (32, 4, {"window": 80, "softcap": 2.0, "ring": True}),
        (128, 3, {"norm": "whole"}),
    ],
)
async def test_attention_with_eight_bits(device, width, tokens, options):
    shape = Heads(4, 2, width, 16, 96, False, 0.1, eps=EPS, bits=8, **options)
    for position in (0, 78):
        await attend(device, shape, position, tokens=tokens, count=tokens)


async def test_attention_in_parts_with_eight_bits(device):
    await attend(device, Heads(3, 1, 64, 64, 5000, True, 0.125, bits=8), 510, 4096, count=3)


def test_short_steps_split_attention_no_further_than_fills_a_gpu():
    heads = Heads(9, 3, 64, 64, 8192, True, 0.125)
    many = Heads(32, 8, 64, 64, 8192, True, 0.125)
    assert [few_parts(heads, reach, 8, alike=True) for reach in (128, 512, 4096, 0)] == [1, 2, 8, 16]
    assert [few_parts(heads, reach, 8, alike=False) for reach in (128, 512, 4096, 0)] == [1, 2, 2, 2]
    assert [few_parts(many, reach, 8, alike=False) for reach in (128, 512, 4096, 0)] == [1, 1, 1, 1]
