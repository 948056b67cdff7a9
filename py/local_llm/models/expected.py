"""What kernels must leave behind, by numpy: one call of each, with its own buffers and random numbers, and the verdict.

Matrix products take a few rows of a true weight, decoded by `embed`. Knows no model.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from local_llm.gpu.kernel import Call, pack
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps
from local_llm.models.kept import rounded, stored
from local_llm.ops.embedding import embed
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight

ROWS = 8  # of a matrix, that are multiplied here as well
TOKENS, TILE = 5, 64  # of a matmul; the most that a workgroup takes
POSITION, SLOTS = 37, 40  # of an attention; each of 16 parts gets three positions, the last ones none
WINDOW, RING = 16, 24  # of a layer with a window; the places of its ring
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

    async def read(self, buffer: Buffer, *shape: int) -> np.ndarray:
        data = await self.memory.device.read(buffer.handle, 4 * int(np.prod(shape)))
        return np.frombuffer(data, "<f4").reshape(shape).astype(np.float64)

    def rows(self, weight: Weight, ids: np.ndarray) -> tuple[list[Call], Callable[[], Awaitable[np.ndarray]]]:
        """Decodes rows of weight: the calls, and then the values."""
        decoded = self.space(len(ids), weight.cols)
        calls = embed(self.shared(0, len(ids)), len(ids), weight, self.given(ids.astype("<u4")), decoded)
        return calls, lambda: self.read(decoded, len(ids), weight.cols)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[-1]).standard_normal(shape, np.float32)


def _near(got: np.ndarray, wanted: np.ndarray, size: np.ndarray | float) -> bool:
    return bool(np.all(np.abs(got - wanted) <= NEAR * size + 1e-30))  # NaN is not near


def _some(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, ROWS).astype("<u4"))


def _normed(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * gain


# Matrix products


def _input(constants: dict[str, float], cols: int, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x as the kernel gets it, its norm's gains, and the vector that the matrix is multiplied by."""
    count = int(constants.get("PARTS", 1))
    if count > 1:  # what attention_step leaves of its heads
        width = 4 * int(constants["VECTORS"])
        sums, scores = _random(cols // width, count, width), _random(cols // width, count, 4)
        scores[..., 1] = 1 + np.abs(scores[..., 1])
        share = np.exp(scores[..., 0] - scores[..., 0].max(-1, keepdims=True)).astype(np.float64)
        total = (share[..., None] * sums).sum(1) / (share * scores[..., 1]).sum(1)[:, None]
        return np.concatenate([sums.ravel(), scores.ravel()]), np.ones(cols, "<f4"), total.reshape(cols)
    x, gain = _random(cols), 1 + _random(cols) / 4
    return x, gain, _normed(x, gain, eps) if constants.get("NORM") else x.astype(np.float64)


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
    ids = _some(rows)
    x, gain, turned = _input(constants, cols, eps)
    bias, before = _random(rows), _random(1, rows)[0]
    made = bench.given(before)
    buffers = (*call.buffers[:2], bench.given(x), bench.given(gain), bench.given(bias), made)
    decode, decoded = bench.rows(weight, ids)
    calls = [*decode, Call(call.kernel, buffers, call.grid, pack(rows, cols, blocks, 0, 0, eps))]

    async def right() -> bool:
        matrix = await decoded()
        rest = bias[ids] * bool(constants.get("BIAS")) + before[ids] * bool(constants.get("ADD"))
        size = np.abs(matrix) @ np.abs(turned) + np.abs(rest) + _rounding(call, matrix, turned)
        return _near((await bench.read(made, rows))[ids], matrix @ turned + rest, size)

    return Case(name, calls, right)


def matvec_glu(bench: Bench, name: str, call: Call) -> Case:
    weight, constants = bench.weight(call.buffers[0]), dict(call.kernel.constants)
    count, cols, blocks, _, gate, up, eps = struct.unpack_from("<6If", call.params)
    ids = _some(count)
    x, gain, turned = _input(constants, cols, eps)
    before = _random(count)
    made = bench.given(before)
    buffers = (*call.buffers[:2], bench.given(x), bench.given(gain), made)
    decode, decoded = bench.rows(weight, np.concatenate([gate + ids, up + ids]))
    calls = [*decode, Call(call.kernel, buffers, call.grid, pack(count, cols, blocks, 0, gate, up, eps))]
    stage = int(constants["STAGE"])

    async def right() -> bool:
        matrix = await decoded()
        sizes = (np.abs(matrix) @ np.abs(turned) + _rounding(call, matrix, turned)).reshape(2, -1)
        gates, ups = (matrix @ turned).reshape(2, -1)
        active = before[ids] if stage == 2 else _active(gates, bool(constants["GELU"]))
        ups, sizes[1] = (np.ones_like(ups), 0.0) if stage == 1 else (ups, sizes[1])
        size = np.abs(active) * sizes[1] + 2 * sizes[0] * np.abs(ups) * (stage < 2)
        return _near((await bench.read(made, count))[ids], active * ups, size)

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
    bias, before = _random(rows), _random(TOKENS, rows)
    x = np.zeros((TILE, cols), "<f4")
    x[:TOKENS] = _random(TOKENS, cols)
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
        return _near((await bench.read(made, TOKENS, rows))[:, ids], given @ matrix.T + rest, size)

    return Case(name, calls, right)


def round_rows(bench: Bench, name: str, call: Call) -> Case:
    cols, blocks = struct.unpack_from("<2I", call.params)
    x = _random(TOKENS, cols)
    whole, scales = bench.space(TOKENS, 8 * blocks), bench.space(TOKENS, blocks, 4)
    buffers = (bench.given(x), whole, scales, bench.shared(0, TOKENS).step)
    calls = [Call(call.kernel, buffers, (call.grid[0], TOKENS, 1), call.params)]

    async def right() -> bool:
        data = await bench.memory.device.read(whole.handle, TOKENS * 32 * blocks)
        got = np.frombuffer(data, np.int8).reshape(TOKENS, blocks, 32).astype(np.float64)
        made = await bench.read(scales, TOKENS, blocks, 4)
        steps, sums = made[..., :1], got.reshape(TOKENS, blocks, 2, 16).sum(-1)
        wanted = x.reshape(got.shape).astype(np.float64)
        fits = _near(steps * 127, np.abs(wanted).max(-1, keepdims=True), 1.0)
        half = np.abs(got * steps - wanted) <= 0.51 * steps
        return fits and bool(half.all()) and _near(made[..., 1:3], steps * sums, np.abs(steps * 1024))

    return Case(name, calls, right)


# Attention


@dataclass(frozen=True)
class _Heads:
    """Of a call: H, K, E, and the keys and values, [2, K, places, E], of which position p lies in place p mod C.

    They are such as a cache of so many bits keeps exactly.
    """

    heads: int
    kv_heads: int
    width: int
    window: int
    softcap: float
    scale: float
    eps: float
    bits: int
    cache: np.ndarray

    def held(self, bench: Bench) -> list[Buffer]:
        """k_cache and v_cache."""
        return [bench.given(part) for part in stored(self.cache[0], self.cache[1], self.bits)]

    @property
    def params(self) -> bytes:
        numbers = (self.cache.shape[2], self.window, self.scale, self.softcap, self.heads, self.kv_heads, self.eps)
        return pack(*numbers)

    def over(self, q: np.ndarray, position: int, newest: int) -> np.ndarray:
        """The result f64 [H, E] for the queries at `position`, which see none after `newest`."""
        first = max(0, position - self.window + 1) if self.window else 0
        seen = np.arange(first, newest + 1) % self.cache.shape[2]
        keys, values = (part[:, seen].astype(np.float64) for part in self.cache)
        sharers = self.heads // self.kv_heads
        scores = np.einsum("he,hpe->hp", q, np.repeat(keys, sharers, 0)) * self.scale
        scores = self.softcap * np.tanh(scores / self.softcap) if self.softcap else scores
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("hp,hpe->he", weights / weights.sum(-1, keepdims=True), np.repeat(values, sharers, 0))


def _heads(call: Call) -> _Heads:
    constants = dict(call.kernel.constants)
    _, window, scale, softcap, heads, kv_heads, eps = struct.unpack_from("<2I2f2If", call.params)
    width, places = int(constants["WIDTH"]), RING if constants.get("RING") else SLOTS
    bits = 8 if any(name.startswith("q8_") for _, name in call.kernel.includes) else 16
    cache = rounded(_random(2, kv_heads, places, width), bits)
    return _Heads(heads, kv_heads, width, min(window, WINDOW), softcap, scale, eps, bits, cache)


def attention_step(bench: Bench, name: str, call: Call) -> Case:
    it, constants, parts = _heads(call), dict(call.kernel.constants), call.grid[1]
    h, k, e, half, norm = it.heads, it.kv_heads, it.width, int(constants["ROPE"]) // 2, int(constants["NORM"])
    qkv = _random(h + 2 * k, e)
    gains = 1 + _random(h + k if norm == 2 else 2, e) / 4
    angle = np.random.default_rng(e).uniform(0, 6, (SLOTS, half)).astype("<f4")
    table = np.stack([np.cos(angle), np.sin(angle)], -1)
    made = bench.space(h * parts * (e + 4))
    buffers = (bench.given(qkv), bench.given(table), bench.given(gains), *it.held(bench), made)
    calls = [Call(call.kernel, (*buffers, bench.shared(POSITION, 1).step), call.grid, it.params)]

    async def right() -> bool:
        turned = qkv.astype(np.float64)
        turned[: h + k] = _normed_heads(turned[: h + k], gains, norm, h, it.eps)
        low, high = slice(0, half), slice(half, 2 * half)
        if constants["INTERLEAVED"]:
            low, high = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        a, b, (cos, sin) = turned[: h + k, low].copy(), turned[: h + k, high].copy(), table[POSITION].T
        turned[: h + k, low], turned[: h + k, high] = a * cos - b * sin, a * sin + b * cos
        it.cache[:, :, POSITION % it.cache.shape[2]] = rounded(turned[h:].reshape(2, k, e), it.bits)
        got = await bench.read(made, h * parts * (e + 4))
        sums, scores = got[: h * parts * e].reshape(h, parts, e), got[h * parts * e :].reshape(h, parts, 4)
        if parts > 1:
            share = np.exp(scores[..., 0] - scores[..., 0].max(-1, keepdims=True))
            sums = (share[..., None] * sums).sum(1) / (share * scores[..., 1]).sum(1)[:, None]
        return _near(sums.reshape(h, e), it.over(turned[:h], POSITION, POSITION), 4.0)

    return Case(name, calls, right)


def _normed_heads(qk: np.ndarray, gains: np.ndarray, norm: int, heads: int, eps: float) -> np.ndarray:
    """q and k, [H + K, E], after qk_norm. norm: 0 none, 1 each head alone, 2 all heads of q and all of k."""
    if not norm:
        return qk
    if norm == 1:
        return np.concatenate([_normed(qk[:heads], gains[0], eps), _normed(qk[heads:], gains[1], eps)])
    both = (slice(0, heads), slice(heads, None))
    return np.concatenate([_normed(qk[o].ravel(), gains[o].ravel(), eps).reshape(qk[o].shape) for o in both])


def attention(bench: Bench, name: str, call: Call) -> Case:
    """Also of one query (attention_decode)."""
    it, constants = _heads(call), dict(call.kernel.constants)
    tokens = TOKENS if call.kernel.name == "attention" else 1
    causal = bool(constants.get("CAUSAL", True))
    start = POSITION - tokens + 1 if causal else 0
    qkv = _random(tokens, it.heads + 2 * it.kv_heads, it.width)
    made = bench.space(tokens, it.heads, it.width)
    buffers = (bench.given(qkv), *it.held(bench), made, bench.shared(start, tokens).step)
    grid = (-(-tokens // 4), it.heads, 1) if call.kernel.name == "attention" else call.grid
    calls = [Call(call.kernel, buffers, grid, it.params)]

    async def right() -> bool:
        places = [(t, start + t if causal else tokens - 1) for t in range(tokens)]
        wanted = [it.over(qkv[t, : it.heads].astype(np.float64), start + t, newest) for t, newest in places]
        return _near(await bench.read(made, tokens, it.heads, it.width), np.array(wanted), 4.0)

    return Case(name, calls, right)


def qk_norm(bench: Bench, name: str, call: Call) -> Case:
    constants = dict(call.kernel.constants)
    h, k, eps = struct.unpack_from("<2If", call.params)
    e, norm = int(constants["WIDTH"]), int(constants["NORM"])
    qkv, gains = _random(TOKENS, h + 2 * k, e), 1 + _random(h + k if norm == 2 else 2, e) / 4
    made = bench.given(qkv)
    buffers = (made, bench.given(gains), bench.shared(0, TOKENS).step)
    calls = [Call(call.kernel, buffers, (call.grid[0], TOKENS, 1), call.params)]

    async def right() -> bool:
        wanted = qkv.astype(np.float64)
        for one in wanted:
            one[: h + k] = _normed_heads(one[: h + k], gains, norm, h, eps)
        return _near(await bench.read(made, *qkv.shape), wanted, np.abs(wanted) + 1)

    return Case(name, calls, right)


CASES: dict[str, Callable[[Bench, str, Call], Case]] = {
    "matvec": matvec,
    "matvec_glu": matvec_glu,
    "matmul": matmul,
    "matmul_large": matmul,
    "matmul_int8": matmul,
    "round_rows": round_rows,
    "attention_step": attention_step,
    "attention": attention,
    "attention_decode": attention,
    "qk_norm": qk_norm,
}
