"""Results that a product leaves rounded to bytes, and products that take them so."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm.gpu.memory import Memory
from local_llm.ops import few
from local_llm.ops.leaving import GROUP, Leaving, can_leave, left_words
from local_llm.ops.linear import matvec, matvec_glu
from local_llm.ops.variants import Shape, Variant, candidates, shape_of
from local_llm.ops.weight import Part, Weight
from tests.kernels.test_int8 import rounding, weight_of
from tests.kernels.workbench import workbench
from tests.reference import tolerance
from tests.reference.linear import glu, linear
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.reference.rounding import rounded

EPS = 1e-5
TOKENS = 3
PLAIN = Variant("", {"LANES": 8, "TEAMS": 8, "ROWS": 4}, 32)
WAYS = ((16, 8, 4), (32, 8, 2), (64, 4, 4), (8, 8, 4))
FORMATS = pytest.mark.parametrize("format", ["q4_0", "q4_1", "q6_k", "q4_k", "q8_0"])


def taking(lanes, teams, each):
    return Variant("", {"LANES": lanes, "TEAMS": teams, "ROWS": each}, teams * each, True, takes_left=True)


def choosing(b, weight, variant, kernel="matvec"):
    """The bench's Shared, with this variant for the weight."""
    return replace(b.shared, choices={**b.shared.choices, shape_of(b.shared, weight, kernel): variant})


def left(x, gains: np.ndarray | float = 1.0):
    """u32 [T, left_words(K)]: what a product leaves of x [T, K], in numpy."""
    tokens, cols = x.shape
    groups = (x * gains).astype(np.float32).reshape(tokens, -1, GROUP)
    step = np.abs(groups).max(-1, keepdims=True) / np.float32(127)
    numbers = np.rint(groups / np.where(step, step, 1)).astype(np.int8)
    sums = step[..., 0] * numbers.sum(-1, dtype=np.int32)
    halves = np.concatenate([step.reshape(tokens, -1, 2), sums.reshape(tokens, -1, 2)], -1).astype(np.float32)
    squares = (x.reshape(groups.shape) ** 2).sum(-1).astype(np.float32)
    parts = (numbers, halves, squares)
    words = np.concatenate([np.ascontiguousarray(part).view(np.uint32).reshape(tokens, -1) for part in parts], 1)
    return np.pad(words, ((0, 0), (0, left_words(cols) - words.shape[1])), constant_values=0x7FC00000)  # NaN


def check_left(words, y, gains: np.ndarray | float = 1.0):
    """words u32 [T, left_words]: what was left of y [T, N]."""
    tokens, cols = y.shape
    numbers = np.ascontiguousarray(words[:, : cols // 4]).view(np.int8).reshape(tokens, -1, GROUP).astype(np.float64)
    halves = np.ascontiguousarray(words[:, cols // 4 : cols // 4 + cols // 8]).view(np.float32)
    steps, sums = np.moveaxis(halves.reshape(tokens, -1, 2, 2), 2, 0).reshape(2, tokens, -1)
    squares = np.ascontiguousarray(words[:, cols // 4 + cols // 8 :][:, : cols // GROUP]).view(np.float32)
    wanted = (y * gains).reshape(numbers.shape)
    np.testing.assert_allclose(127 * steps, np.abs(wanted).max(-1), rtol=1e-5)
    assert np.abs(numbers).max(-1).min() == 127
    assert (np.abs(numbers * steps[..., None] - wanted) <= 0.501 * steps[..., None]).all()
    np.testing.assert_allclose(sums, steps * numbers.sum(-1), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(squares, (y.reshape(numbers.shape) ** 2).sum(-1), rtol=1e-5)


async def read_words(b, buffer, *shape):
    data = await b.device.read(buffer.handle, 4 * int(np.prod(shape)))
    return np.frombuffer(data, np.uint32).reshape(shape)


@pytest.mark.parametrize("variant", [PLAIN, *(replace(taking(*way), takes_left=False) for way in WAYS)], ids=str)
@pytest.mark.parametrize(
    "limits", [{}, {"max_binding_bytes": 64 * 64 * 16, "max_workgroups": 2}], ids=["whole", "split"]
)
async def test_what_is_left(device, variant, limits):
    """Behind the results of the few tokens that a step may have; of a whole matrix and of parts."""
    rows, cols, rng = 192, 2048, np.random.default_rng(variant.rows)
    with workbench(device, software=False, **limits) as plain:
        b = rounding(plain)
        weight, _ = await weight_of(b, rng, "q4_0", rows, cols)
        assert (len(weight.parts) > 1) == bool(limits)
        assert can_leave(weight, variant)
        s = choosing(b, weight, variant)
        x, before = rng.standard_normal((TOKENS, cols), np.float32), rng.standard_normal((TOKENS, rows), np.float32)
        gains = rng.uniform(-2, 2, rows).astype(np.float32)
        b.set_count(TOKENS)
        start, space = 4 * rows, left_words(rows)
        options = {"bias": b.buffer(before[0]), "add": True, "leaves": Leaving(start, b.buffer(gains))}
        room = np.zeros(start + 4 * space, np.float32)
        room[: TOKENS * rows] = before.ravel()
        y = b.buffer(room)
        await b.run(few.matvec_few(s, TOKENS, weight, b.buffer(x), y, y_stride=rows, each=2, **options))
        got = await read_words(b, y, start + 4 * space)
        results = got[: TOKENS * rows].view(np.float32).reshape(TOKENS, rows)
        assert not got[TOKENS * rows : start].any()
        assert not got[start + 3 * space :].any()
        words = got[start:].reshape(4, space)[:TOKENS]
        for t in range(TOKENS):
            room = np.zeros(start + space, np.float32)
            room[:rows] = before[t]
            y = b.buffer(room)
            await b.run(matvec(s, weight, b.buffer(x[t]), y, **options))
            one = await read_words(b, y, start + space)
            np.testing.assert_array_equal(one[:rows], got[t * rows : (t + 1) * rows])
            np.testing.assert_array_equal(one[start:], words[t])
    check_left(words, results, gains)


@pytest.mark.parametrize("way", [way for way in WAYS if way[1] * way[2] % 32 == 0], ids=str)
async def test_gated_results_are_left_in_their_place(device, way):
    width, cols, rng = 96, 2048, np.random.default_rng(way[0])
    with workbench(device, software=False) as plain:
        b = rounding(plain)
        weight, decoded = await weight_of(b, rng, "q4_1", 2 * width, cols)
        s = choosing(b, weight, taking(*way), "matvec_glu")
        assert can_leave(weight, taking(*way), pairs=True)
        x = rng.standard_normal((TOKENS, cols), np.float32) / 8
        b.set_count(TOKENS)
        space, given = left_words(width), (s, 4, weight, b.buffer(left(x).ravel()))
        y, results = b.buffer(np.zeros(4 * space, np.uint32)), b.nans(TOKENS, width)
        await b.run(few.matvec_few_glu(*given, y, each=2, left=0, leaves=Leaving()))
        await b.run(few.matvec_few_glu(*given, results, each=2, left=0))
        got, results = await read_words(b, y, 4, space), await b.read(results, TOKENS, width)
        for t in range(TOKENS):
            y = b.buffer(np.zeros(space, np.uint32))
            await b.run(matvec_glu(s, weight, b.buffer(left(x[t : t + 1])), y, left=0, leaves=Leaving()))
            np.testing.assert_array_equal(await read_words(b, y, space), got[t])
    assert not got[3].any()
    np.testing.assert_allclose(results, glu(linear(decoded, rounded(x, GROUP)), "silu"), **tolerance.DOT)
    check_left(got[:TOKENS], results.astype(np.float64))


@FORMATS
@pytest.mark.parametrize(("way", "rows", "cols"), [(WAYS[0], 21, 2304), (WAYS[2], 40, 2080), (WAYS[3], 300, 4128)])
async def test_products_of_what_was_left(device, format, way, rows, cols):
    """With the norm whose gains are in it, and with sums of squares that end within a vector."""
    rng, start = np.random.default_rng(cols), 64
    if format.endswith("_k"):
        cols = cols // 256 * 256 + 256
    with workbench(device, software=False) as plain:
        b = rounding(plain)
        weight, decoded = await weight_of(b, rng, format, rows, cols)
        s = choosing(b, weight, taking(*way))
        x = rng.standard_normal((TOKENS, cols), np.float32)
        gains, bias = rng.uniform(-2, 2, cols).astype(np.float32), rng.standard_normal(rows, np.float32)
        b.set_count(TOKENS)
        options = {"norm": b.buffer(gains), "eps": EPS, "bias": b.buffer(bias), "left": start}

        def given(words):
            return b.buffer(np.concatenate([np.full(start, 0x7FC00000, np.uint32), words.ravel()]))

        words, y, alone = left(x, gains), b.nans(TOKENS, rows), []
        await b.run(few.matvec_few(s, TOKENS, weight, given(words), y, y_stride=rows, each=2, **options))
        got = await b.read(y, TOKENS, rows)
        for t in range(TOKENS):
            y = b.nans(rows)
            calls = matvec(s, weight, given(words[t]), y, **options)
            assert ("team_rows", "left_rows") in calls[0].kernel.includes
            await b.run(calls)
            alone.append(await b.read(y, rows))
    np.testing.assert_array_equal(got, alone)
    factor = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + EPS)
    np.testing.assert_allclose(got, factor * linear(decoded, rounded(x * gains, GROUP)) + bias, **tolerance.DOT)


@pytest.mark.parametrize("cols", [4096, 14336])
@pytest.mark.parametrize("kernel", ["matvec", "matvec_glu"])
def test_who_may_leave_and_who_takes_it(kernel, cols):
    gpu, pairs = replace(CAPS, software=False), kernel == "matvec_glu"
    nothing = Memory(RecordingDevice(gpu)).create(16, "weight")
    weight = Weight("q4_0", 4096, 4096, (Part(0, 4096, nothing, nothing),))
    taken = [one for one in candidates(gpu, Shape(kernel, "q4_0", 4096, cols, int8=True)) if one.takes_left]
    assert len(taken) == 2
    assert all(can_leave(weight, variant, pairs) for variant in taken)
    assert not [one for one in candidates(gpu, Shape(kernel, "q4_0", 4096, 4096)) if one.takes_left]
    assert not can_leave(weight, replace(taken[0], rows=24), pairs)
    assert not can_leave(weight, candidates(CAPS, Shape(kernel, "q4_0", 4096, 4096))[0], pairs)
    assert not can_leave(replace(weight, rows=4096 + 16), taken[0], pairs)
    parts = tuple(Part(row, 4096 - row, nothing, nothing) for row in (0, 8))
    assert not can_leave(replace(weight, parts=parts), taken[0], pairs)
