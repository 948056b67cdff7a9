"""What kernels must leave behind, by numpy: one call of each, with its own buffers and random numbers, and the verdict.

Those of matrix products, with a few rows of a true weight, decoded by `embed`; expected_attention.py has the others.
Knows no model.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from local_llm.gpu.kernel import Call, pack
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps
from local_llm.models.expected_left import left_input, left_right, squares_right
from local_llm.ops.embedding import embed
from local_llm.ops.leaving import left_words
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight

ROWS = 8  # of a matrix, that are multiplied here as well
TOKENS, TILE = 5, 64  # of a matmul; the most that a workgroup takes
NEAR = 2e-3  # of the sum of the terms' sizes: keys and values are f16, sums f32


@dataclass(frozen=True)
class Case:
    """One kernel's calls, and whether what they left is right."""

    name: str
    calls: list[Call]
    right: Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Bench:
    """Where cases are made. weight: the rows that lie in a buffer."""

    caps: Caps
    memory: Memory
    weight: Callable[[Buffer], Weight]

    def shared(self, position: int, count: int) -> Shared:
        step = self.memory.upload(np.array([position, count, 0, 0], "<u4").tobytes(), "proof")
        return Shared(self.caps, step, self.memory.create(16, "proof"))

    def given(self, values: np.ndarray) -> Buffer:
        return self.memory.upload(values.tobytes() or bytes(16), "proof")

    def space(self, *shape: int) -> Buffer:
        return self.memory.create(4 * int(np.prod(shape)), "proof")

    async def words(self, buffer: Buffer, start: int, count: int) -> np.ndarray:
        """So many u32 of a buffer."""
        return np.frombuffer(await self.memory.device.read(buffer.handle, 4 * (start + count)), "<u4")[start:]

    async def read(self, buffer: Buffer, *shape: int) -> np.ndarray:
        data = await self.memory.device.read(buffer.handle, 4 * int(np.prod(shape)))
        return np.frombuffer(data, "<f4").reshape(shape).astype(np.float64)

    def rows(self, weight: Weight, ids: np.ndarray) -> tuple[list[Call], Callable[[], Awaitable[np.ndarray]]]:
        """Decodes rows of weight: the calls, and then the values."""
        decoded = self.space(len(ids), weight.cols)
        calls = embed(self.shared(0, len(ids)), len(ids), weight, self.given(ids.astype("<u4")), decoded)
        return calls, lambda: self.read(decoded, len(ids), weight.cols)


def random_floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[-1]).standard_normal(shape, np.float32)


def near(got: np.ndarray, wanted: np.ndarray, size: np.ndarray | float) -> bool:
    return bool(np.all(np.abs(got - wanted) <= NEAR * size + 1e-30))  # NaN is not near


def _some(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, ROWS).astype("<u4"))


def normed(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * gain


# Matrix products


def _input(call: Call, cols: int, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x as the kernel gets it, its norm's gains, and the vector that the matrix is multiplied by."""
    constants = dict(call.kernel.constants)
    if ("team_rows", "left_rows") in call.kernel.includes:
        words, turned = left_input(cols, bool(constants.get("NORM")), eps)
        return words, np.ones(cols, "<f4"), turned
    count, sharers = int(constants.get("PARTS", 0)), int(constants.get("SHARERS", 0))
    if count:
        x, joined = _parted(cols, 4 * int(constants["VECTORS"]), count, sharers)
        return x, np.ones(cols, "<f4"), joined
    x, gain = random_floats(cols), 1 + random_floats(cols) / 4
    return x, gain, normed(x, gain, eps) if constants.get("NORM") else x.astype(np.float64)


def _parted(cols: int, width: int, count: int, sharers: int) -> tuple[np.ndarray, np.ndarray]:
    """What attention leaves of its heads in parts, and what that joins to. sharers: as of ops.linear.Parts."""
    heads = cols // width
    sums, scores = random_floats(heads, count, width), random_floats(heads, count, 4)
    scores[..., 1] = 1 + np.abs(scores[..., 1])
    highest, left = scores[..., 0].max(-1, keepdims=True), [sums.ravel(), scores.ravel()]
    share = np.exp(scores[..., 0] - highest).astype(np.float64)
    total, weight = (share[..., None] * sums).sum(1), (share * scores[..., 1]).sum(1)
    if sharers:
        q, newest = random_floats(heads, width) / np.float32(width), random_floats(2, heads // sharers, width)
        key, value = np.repeat(newest, sharers, 1)
        last = np.exp((q * key).sum(-1) - highest[:, 0]).astype(np.float64)
        total, weight, left = total + last[:, None] * value, weight + last, [*left, q.ravel(), newest.ravel()]
    return np.concatenate(left), (total / weight[:, None]).reshape(cols)


def _rounding(call: Call, matrix: np.ndarray, x: np.ndarray) -> np.ndarray | float:
    """What rounding x to bytes, 32 with a scale, may add to a product's size: five times what is to be expected."""
    if ("team_rows", "byte_rows") not in call.kernel.includes:
        return 0.0
    blocks = x.reshape(-1, 32)
    steps = np.repeat(np.abs(blocks).max(1) / 127, 32)
    return 5 / NEAR * np.sqrt(matrix**2 @ (steps**2 / 12))


def matvec(bench: Bench, name: str, call: Call) -> Case:
    weight, constants = bench.weight(call.buffers[0]), dict(call.kernel.constants)
    rows, cols, blocks, _, _, eps = struct.unpack_from("<5If", call.params)
    ids, whole = _some(rows), 32 * int(constants.get("OUT", 0))
    x, gain, turned = _input(call, cols, eps)
    bias, before, room = random_floats(rows), random_floats(1, rows)[0], left_words(whole)
    made = bench.given(np.concatenate([before, np.zeros(room, "<f4")]))
    gain = 1 + random_floats(rows)[::-1] / 4 if whole else gain
    buffers = (*call.buffers[:2], bench.given(x), bench.given(gain), bench.given(bias), made)
    decode, decoded = bench.rows(weight, ids)
    calls = [*decode, Call(call.kernel, buffers, call.grid, pack(rows, cols, blocks, 0, 0, eps, 0, rows))]

    async def right() -> bool:
        matrix, results = await decoded(), await bench.read(made, rows)
        rest = bias[ids] * bool(constants.get("BIAS")) + before[ids] * bool(constants.get("ADD"))
        size = np.abs(matrix) @ np.abs(turned) + np.abs(rest) + _rounding(call, matrix, turned)
        sound = near(results[ids], matrix @ turned + rest, size)
        if whole:
            left = await bench.words(made, rows, room)
            sound &= left_right(left, (results * gain)[ids], np.zeros(len(ids)), ids, whole)
            sound &= squares_right(left, results, whole)
        return sound

    return Case(name, calls, right)


def matvec_glu(bench: Bench, name: str, call: Call) -> Case:
    weight, constants = bench.weight(call.buffers[0]), dict(call.kernel.constants)
    count, cols, blocks, _, gate, up, eps = struct.unpack_from("<6If", call.params)
    ids = _some(count)
    x, gain, turned = _input(call, cols, eps)
    before = random_floats(count)
    made = bench.given(before)
    buffers = (*call.buffers[:2], bench.given(x), bench.given(gain), made)
    decode, decoded = bench.rows(weight, np.concatenate([gate + ids, up + ids]))
    calls = [*decode, Call(call.kernel, buffers, call.grid, pack(count, cols, blocks, 0, gate, up, eps, 0))]
    stage, leaves = int(constants["STAGE"]), "LEAVES" in constants

    async def right() -> bool:
        matrix = await decoded()
        sizes = (np.abs(matrix) @ np.abs(turned) + _rounding(call, matrix, turned)).reshape(2, -1)
        gates, ups = (matrix @ turned).reshape(2, -1)
        active = before[ids] if stage == 2 else _active(gates, bool(constants["GELU"]))
        ups, sizes[1] = (np.ones_like(ups), 0.0) if stage == 1 else (ups, sizes[1])
        size = np.abs(active) * sizes[1] + 2 * sizes[0] * np.abs(ups) * (stage < 2)
        if leaves:
            return left_right(await bench.words(made, 0, left_words(count)), active * ups, NEAR * size, ids, count)
        return near((await bench.read(made, count))[ids], active * ups, size)

    return Case(name, calls, right)


def _active(x: np.ndarray, gelu: bool) -> np.ndarray:
    x = x.clip(-500, 500)
    return x / (1 + np.exp(-(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3) if gelu else x).clip(-500, 500)))


def _rounded(cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes [TILE, K], their scales and sums as round_rows leaves them, and the numbers that they stand for."""
    rng = np.random.default_rng(cols)
    whole, step = rng.integers(-127, 128, (TILE, cols // 32, 32), np.int8), rng.uniform(0.01, 0.02, (TILE, cols // 32))
    sums = whole.reshape(TILE, -1, 2, 16).sum(-1)
    scales = np.stack([step, step * sums[..., 0], step * sums[..., 1], 0 * step], -1).astype("<f4")
    return whole, scales, (whole * scales[..., :1].astype(np.float64)).reshape(TILE, cols)


def matmul(bench: Bench, name: str, call: Call) -> Case:
    """Also of inputs that are rounded (matmul_int8)."""
    weight, constants = bench.weight(call.buffers[0]), dict(call.kernel.constants)
    rows, cols, blocks = struct.unpack_from("<3I", call.params)
    ids = _some(rows)
    bias, before = random_floats(rows), random_floats(TOKENS, rows)
    x = np.zeros((TILE, cols), "<f4")
    x[:TOKENS] = random_floats(TOKENS, cols)
    inputs = (bench.given(x),)
    if call.kernel.name == "matmul_int8":
        whole, scales, x = _rounded(cols)
        inputs = bench.given(whole), bench.given(scales)
    made = bench.given(before)
    buffers = (*call.buffers[:2], *inputs, bench.given(bias), made, bench.shared(0, TOKENS).step)
    decode, decoded = bench.rows(weight, ids)
    grid = (1, *call.grid[1:])  # the first tile of tokens
    calls = [*decode, Call(call.kernel, buffers, grid, pack(rows, cols, blocks, rows, 0, 0))]

    async def right() -> bool:
        matrix, given = await decoded(), x[:TOKENS].astype(np.float64)
        rest = bias[ids] * bool(constants.get("BIAS")) + before[:, ids] * bool(constants.get("ADD"))
        size = np.abs(given) @ np.abs(matrix).T + np.abs(rest)
        return near((await bench.read(made, TOKENS, rows))[:, ids], given @ matrix.T + rest, size)

    return Case(name, calls, right)


def round_rows(bench: Bench, name: str, call: Call) -> Case:
    cols, blocks = struct.unpack_from("<2I", call.params)
    x = random_floats(TOKENS, cols)
    whole, scales = bench.space(TOKENS, 8 * blocks), bench.space(TOKENS, blocks, 4)
    buffers = (bench.given(x), whole, scales, bench.shared(0, TOKENS).step)
    calls = [Call(call.kernel, buffers, (call.grid[0], TOKENS, 1), call.params)]

    async def right() -> bool:
        data = await bench.memory.device.read(whole.handle, TOKENS * 32 * blocks)
        got = np.frombuffer(data, np.int8).reshape(TOKENS, blocks, 32).astype(np.float64)
        made = await bench.read(scales, TOKENS, blocks, 4)
        steps, sums = made[..., :1], got.reshape(TOKENS, blocks, 2, 16).sum(-1)
        wanted = x.reshape(got.shape).astype(np.float64)
        fits = near(steps * 127, np.abs(wanted).max(-1, keepdims=True), 1.0)
        half = np.abs(got * steps - wanted) <= 0.51 * steps
        return fits and bool(half.all()) and near(made[..., 1:3], steps * sums, np.abs(steps * 1024))

    return Case(name, calls, right)
