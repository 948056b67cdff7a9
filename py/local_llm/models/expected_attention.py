"""What attention's kernels must leave behind, by numpy, as expected.py says it of products. Knows no model."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from local_llm.gpu.kernel import Call, pack
from local_llm.gpu.memory import Buffer
from local_llm.models.expected import TOKENS, Bench, Case, near, normed, random_floats
from local_llm.models.kept import rounded, stored

POSITION, SLOTS = 37, 40  # of an attention; each of 16 parts gets three positions, the last ones none
WINDOW, RING = 16, 24  # of a layer with a window; the places of its ring


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

    def numbers(self, *more: int) -> bytes:
        """`struct Params`."""
        numbers = (self.cache.shape[2], self.window, self.scale, self.softcap, self.heads, self.kv_heads, self.eps)
        return pack(*numbers, *more)

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
    cache = rounded(random_floats(2, kv_heads, places, width), bits)
    return _Heads(heads, kv_heads, width, min(window, WINDOW), softcap, scale, eps, bits, cache)


def attention_step(bench: Bench, name: str, call: Call) -> Case:
    it, constants, parts = _heads(call), dict(call.kernel.constants), call.grid[1]
    h, k, e, half, norm = it.heads, it.kv_heads, it.width, int(constants["ROPE"]) // 2, int(constants["NORM"])
    qkv = random_floats(h + 2 * k, e)
    gains = 1 + random_floats(h + k if norm == 2 else 2, e) / 4
    table = _table(e, half)
    made = bench.space(h * parts * (e + 4))
    buffers = (bench.given(qkv), bench.given(table), bench.given(gains), *it.held(bench), made)
    calls = [Call(call.kernel, (*buffers, bench.shared(POSITION, 1).step), call.grid, it.numbers())]

    async def right() -> bool:
        turned = qkv.astype(np.float64)
        turned[: h + k] = _normed_heads(turned[: h + k], gains, norm, h, it.eps)
        turned[: h + k] = _rotated(turned[: h + k], table[POSITION], bool(constants["INTERLEAVED"]))
        it.cache[:, :, POSITION % it.cache.shape[2]] = rounded(turned[h:].reshape(2, k, e), it.bits)
        got = await bench.read(made, h * parts * (e + 4))
        sums, scores = got[: h * parts * e].reshape(h, parts, e), got[h * parts * e :].reshape(h, parts, 4)
        if parts > 1:
            share = np.exp(scores[..., 0] - scores[..., 0].max(-1, keepdims=True))
            sums = (share[..., None] * sums).sum(1) / (share * scores[..., 1]).sum(1)[:, None]
        return near(sums.reshape(h, e), it.over(turned[:h], POSITION, POSITION), 4.0)

    return Case(name, calls, right)


def _table(width: int, half: int) -> np.ndarray:
    """cos, sin [SLOTS, half, 2] of any angles."""
    angle = np.random.default_rng(width).uniform(0, 6, (SLOTS, half)).astype("<f4")
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _rotated(heads: np.ndarray, turns: np.ndarray, interleaved: bool) -> np.ndarray:
    """heads [N, E] turned by cos, sin [half, 2]."""
    half = len(turns)
    low, high = slice(0, half), slice(half, 2 * half)
    if interleaved:
        low, high = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    (cos, sin), turned = turns.T.astype(np.float64), heads.copy()
    turned[:, low] = heads[:, low] * cos - heads[:, high] * sin
    turned[:, high] = heads[:, low] * sin + heads[:, high] * cos
    return turned


def qkv_attention(bench: Bench, name: str, call: Call) -> Case:
    """q, k and v against the product; the rest against attention by those q, k and v."""
    it, constants, parts = _heads(call), dict(call.kernel.constants), call.grid[1]
    cols, blocks = struct.unpack_from("<2I", call.params, 28)
    h, k, e, half = it.heads, it.kv_heads, it.width, int(constants["ROPE"]) // 2
    x, gain, bias = random_floats(cols), 1 + random_floats(cols) / 4, random_floats((h + 2 * k) * e)
    table = _table(e, half)
    sizes = h * parts * e, h * parts * 4, h * e, k * e, k * e
    made, given = bench.space(sum(sizes)), [bench.given(part) for part in (x, gain, bias, table)]
    decode, decoded = bench.rows(bench.weight(call.buffers[0]), np.arange((h + 2 * k) * e))
    buffers = (*call.buffers[:2], *given, *it.held(bench), made, bench.shared(POSITION, 1).step)
    calls = [*decode, Call(call.kernel, buffers, call.grid, it.numbers(cols, blocks))]

    async def right() -> bool:
        matrix, turned = await decoded(), normed(x, gain, it.eps)
        rest = bias * bool(constants["BIAS"])
        wanted = (matrix @ turned + rest).reshape(-1, e)
        size = (np.abs(matrix) @ np.abs(turned) + np.abs(rest)).reshape(-1, e).max(-1, keepdims=True)
        wanted[: h + k] = _rotated(wanted[: h + k], table[POSITION], bool(constants["INTERLEAVED"]))
        got = np.split(await bench.read(made, sum(sizes)), np.cumsum(sizes)[:-1])
        sums, scores = got[0].reshape(h, parts, e), got[1].reshape(h, parts, 4)
        q, newest = got[2].reshape(h, e) / it.scale, np.stack(got[3:]).reshape(2, k, e)
        if not near(np.concatenate([q, *newest]), wanted, size):
            return False
        it.cache[:, :, POSITION % it.cache.shape[2]] = newest
        score = (got[2].reshape(h, e) * np.repeat(newest[0], h // k, 0)).sum(-1)
        highest = np.maximum(scores[..., 0].max(-1), score)
        share, last = np.exp(scores[..., 0] - highest[:, None]), np.exp(score - highest)
        total = (share[..., None] * sums).sum(1) + last[:, None] * np.repeat(newest[1], h // k, 0)
        joined = total / ((share * scores[..., 1]).sum(1) + last)[:, None]
        return near(joined, it.over(q, POSITION, POSITION), max(4.0, np.abs(it.cache[1]).max()))

    return Case(name, calls, right)


def _normed_heads(qk: np.ndarray, gains: np.ndarray, norm: int, heads: int, eps: float) -> np.ndarray:
    """q and k, [H + K, E], after qk_norm. norm: 0 none, 1 each head alone, 2 all heads of q and all of k."""
    if not norm:
        return qk
    if norm == 1:
        return np.concatenate([normed(qk[:heads], gains[0], eps), normed(qk[heads:], gains[1], eps)])
    both = (slice(0, heads), slice(heads, None))
    return np.concatenate([normed(qk[o].ravel(), gains[o].ravel(), eps).reshape(qk[o].shape) for o in both])


def attention(bench: Bench, name: str, call: Call) -> Case:
    """Also of one query (attention_decode)."""
    it, constants = _heads(call), dict(call.kernel.constants)
    tokens = TOKENS if call.kernel.name == "attention" else 1
    causal = bool(constants.get("CAUSAL", True))
    start = POSITION - tokens + 1 if causal else 0
    qkv = random_floats(tokens, it.heads + 2 * it.kv_heads, it.width)
    made = bench.space(tokens, it.heads, it.width)
    buffers = (bench.given(qkv), *it.held(bench), made, bench.shared(start, tokens).step)
    grid = (-(-tokens // 4), it.heads, 1) if call.kernel.name == "attention" else call.grid
    calls = [Call(call.kernel, buffers, grid, it.numbers())]

    async def right() -> bool:
        places = [(t, start + t if causal else tokens - 1) for t in range(tokens)]
        wanted = [it.over(qkv[t, : it.heads].astype(np.float64), start + t, newest) for t, newest in places]
        return near(await bench.read(made, tokens, it.heads, it.width), np.array(wanted), 4.0)

    return Case(name, calls, right)


def qk_norm(bench: Bench, name: str, call: Call) -> Case:
    constants = dict(call.kernel.constants)
    h, k, eps = struct.unpack_from("<2If", call.params)
    e, norm = int(constants["WIDTH"]), int(constants["NORM"])
    qkv, gains = random_floats(TOKENS, h + 2 * k, e), 1 + random_floats(h + k if norm == 2 else 2, e) / 4
    made = bench.given(qkv)
    buffers = (made, bench.given(gains), bench.shared(0, TOKENS).step)
    calls = [Call(call.kernel, buffers, (call.grid[0], TOKENS, 1), call.params)]

    async def right() -> bool:
        wanted = qkv.astype(np.float64)
        for one in wanted:
            one[: h + k] = _normed_heads(one[: h + k], gains, norm, h, eps)
        return near(await bench.read(made, *qkv.shape), wanted, np.abs(wanted) + 1)

    return Case(name, calls, right)
