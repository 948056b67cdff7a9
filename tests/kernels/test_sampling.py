import numpy as np
import pytest

from local_llm.ops.sampling import SamplingParams, allocate_sampler, pack_sampling, sample
from tests.kernels.calls import Bench, bench
from tests.reference import sampling as reference

RING = 2048
IN_PROMPT = np.uint32(1 << 31)


class Sampler:
    """A sampler with its buffers; `draw` runs it on logits that stay the same."""

    def __init__(self, b: Bench, logits: np.ndarray, p: SamplingParams, ring: int = RING) -> None:
        self.b, self.p = b, p
        tokens, slots = b.memory.create(16, "tokens"), b.memory.create(4 * ring, "ring")
        self.buffers = allocate_sampler(b.memory, b.device.caps, len(logits), ring, tokens, slots)
        b.write(self.buffers.logits, logits.astype(np.float32))
        b.device.write(self.buffers.sampling.handle, pack_sampling(p))

    async def draw(self, times: int = 1, *, position: int = 0, count: int = 1, seed: int = 0) -> np.ndarray:
        p = self.p
        cut = p.top_k > 0 or p.top_p < 1 or p.min_p > 0
        penalties = (p.repetition_penalty, p.presence_penalty, p.frequency_penalty) != (1, 0, 0)
        self.b.set_step(position, count, 0, seed)
        calls = sample(self.b.shared, self.buffers, penalties=penalties, noise=p.temperature > 0, cut=cut)
        await self.b.run(calls, times)
        return await self.b.read(self.buffers.ring, (self.buffers.ring_size,), np.uint32)


async def kept(device, logits: np.ndarray, software: bool | None = None, **options) -> np.ndarray:
    """bool [V]: what the filters keep"""
    with bench(device, software) as b:
        sampler = Sampler(b, logits, SamplingParams(**{"temperature": 1.0, **options}))
        await sampler.draw()
        (cut,) = await b.read(sampler.buffers.cut, (1,), np.uint32)
        return order(logits) >= cut


def order(x: np.ndarray) -> np.ndarray:
    bits = (x.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 + 0 = 0
    return np.where(np.isnan(x), 0, np.where(bits >> 31, ~bits, bits | IN_PROMPT))


def normal(vocab: int, scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng([vocab, seed]).standard_normal(vocab) * scale).astype(np.float32)


@pytest.mark.parametrize("vocab", [1, 2, 5, 257, 49152, 262144])
async def test_greedy_takes_the_best(device, vocab):
    logits = normal(vocab)
    for place in {0, vocab // 2, vocab - 1}:
        changed = logits.copy()
        changed[place] = 100
        with bench(device) as b:
            ring = await Sampler(b, changed, SamplingParams()).draw()
        assert ring[0] == place


@pytest.mark.parametrize("vocab", [5, 257, 49152])
async def test_greedy_takes_the_lowest_of_equals(device, vocab):
    logits = normal(vocab)
    logits[[vocab // 3, vocab // 2, vocab - 1]] = 50
    with bench(device) as b:
        assert (await Sampler(b, logits, SamplingParams()).draw())[0] == vocab // 3


async def test_pick_moves_on(device):
    logits = normal(257)
    best = int(logits.argmax())
    with bench(device) as b:
        sampler = Sampler(b, logits, SamplingParams(), ring=4)
        counts = np.zeros(257, np.uint32)
        counts[best] = IN_PROMPT | 3
        b.write(sampler.buffers.counts, counts)
        b.write(sampler.buffers.ring, np.full(4, 999, np.uint32))
        ring = await sampler.draw(2, position=40, count=7, seed=9)
        assert list(ring) == [best, best, 999, 999]
        assert list(await b.read(b.shared.step, (4,), np.uint32)) == [48, 1, 2, 9]
        assert (await b.read(sampler.buffers.tokens, (4,), np.uint32))[0] == best
        after = await b.read(sampler.buffers.counts, (257,), np.uint32)
        counts[best] += 2
        np.testing.assert_array_equal(after, counts)
        b.set_step(50, 1, 7)
        await b.run(sample(b.shared, sampler.buffers, penalties=False, noise=False, cut=False))
        assert list(await b.read(sampler.buffers.ring, (4,), np.uint32)) == [best, best, 999, best]


@pytest.mark.parametrize("bad", [np.nan, -np.nan, -np.inf, np.inf])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_k": 3, "top_p": 0.9}])
async def test_logits_that_are_no_numbers(device, bad, options):
    for vocab in (5, 2000):
        logits = np.full(vocab, bad, np.float32)
        with bench(device) as b:
            drawn = await Sampler(b, logits, SamplingParams(**options, repetition_penalty=1.5)).draw(20)
        assert (drawn < vocab).all()
        logits[[1, 3]] = 1.0
        with bench(device) as b:
            drawn = (await Sampler(b, logits, SamplingParams(**options, min_p=0.01)).draw(20))[:20]
        assert set(drawn) <= ({1, 3} if bad != np.inf else set(range(vocab)) - {1, 3})


@pytest.mark.parametrize("vocab", [5, 257, 49152, 262144])
async def test_penalties(device, vocab):
    rng = np.random.default_rng(vocab)
    logits = normal(vocab)
    in_prompt = rng.random(vocab) < 0.3
    times = rng.integers(0, 4, vocab) * (rng.random(vocab) < 0.3)
    p = SamplingParams(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=-0.2)
    expected = reference.penalize(logits, in_prompt, times, 1.3, 0.4, -0.2)
    with bench(device) as b:
        sampler = Sampler(b, logits, p)
        b.write(sampler.buffers.counts, (in_prompt * IN_PROMPT | times.astype(np.uint32)).astype(np.uint32))
        ring = await sampler.draw()
        after = await b.read(sampler.buffers.logits, (vocab,))
    np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-6)
    assert ring[0] == after.argmax()


async def test_penalties_count_the_answer(device):
    logits = np.array([3.0, 2.5, 1.2], np.float32)
    drawn = []
    with bench(device) as b:
        sampler = Sampler(b, logits, SamplingParams(frequency_penalty=1.0))
        for _ in range(5):
            b.write(sampler.buffers.logits, logits)
            drawn.append(int((await sampler.draw())[0]))
    assert drawn == [0, 1, 0, 1, 2]


LOGITS = {
    "normal 5": normal(5),
    "normal 257": normal(257),
    "normal 49152": normal(49152),
    "normal 262144": normal(262144, 1.0),
    "peaked": normal(49152, 0.1) + 30 * (np.arange(49152) == 77),
    "equal": np.full(1000, 2.5, np.float32),
    "few values": np.round(normal(5000)),
    "signed zeros": np.array([0.0, -0.0, -1.0, 1.0, -0.0, 0.0], np.float32),
    "huge": normal(257) * np.float32(1e30),
    "offset": normal(257) + np.float32(5000),
    "masked": np.where(np.arange(257) % 3 == 0, -np.inf, normal(257)).astype(np.float32),
    "geometric": (-0.01 * np.arange(3000)).astype(np.float32),
}


@pytest.mark.parametrize("name", LOGITS)
async def test_top_k_is_exact(device, software, name):
    logits = LOGITS[name]
    for k in (1, 2, 40, len(logits) - 1, len(logits), 2**31 - 1):
        np.testing.assert_array_equal(await kept(device, logits, software, top_k=k), reference.top_k(logits, k))


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("temperature", [1e-3, 0.7, 10.0])
async def test_top_p_keeps_a_nucleus(device, name, temperature):
    logits = LOGITS[name]
    probability = reference.probabilities(logits, temperature)
    for p in (0.0, 0.1, 0.5, 0.95, 0.9999):
        mask = await kept(device, logits, temperature=temperature, top_p=p)
        assert mask[logits.argmax()]
        assert reference.nucleus_error(probability, mask, p) < 1e-5


@pytest.mark.parametrize("name", ["normal 257", "normal 262144", "few values", "equal", "masked"])
async def test_top_p_counts_what_top_k_kept(device, software, name):
    logits = LOGITS[name]
    for k in (1, 3, 50):
        first = reference.top_k(logits, k)
        probability = reference.probabilities(np.where(first, logits, -np.inf), 0.8)
        mask = await kept(device, logits, software, temperature=0.8, top_k=k, top_p=0.7)
        assert not (mask & ~first).any()
        assert reference.nucleus_error(probability, mask, 0.7) < 1e-5


@pytest.mark.parametrize("name", [name for name in LOGITS if name != "huge"])
@pytest.mark.parametrize("temperature", [1e-3, 0.7, 10.0])
async def test_min_p(device, name, temperature):
    logits = LOGITS[name]
    for p in (1e-6, 0.05, 0.5, 1.0):
        mask = await kept(device, logits, temperature=temperature, min_p=p)
        clear = np.abs(logits - (logits.max() + temperature * np.log(p))) > 1e-6 * np.abs(logits).max()
        expected = reference.min_p(logits, temperature, p)
        np.testing.assert_array_equal(mask[clear], expected[clear])
        assert mask[logits.argmax()]


def chi_square(drawn: np.ndarray, probability: np.ndarray) -> float:
    """Deviations from the mean of a chi-square, in standard deviations; categories expected 5 times or more."""
    expected = probability * len(drawn)
    common = expected >= 5
    seen = np.bincount(drawn, minlength=len(probability))
    seen = np.append(seen[common], seen[~common].sum())
    expected = np.append(expected[common], max(expected[~common].sum(), 1e-9))
    if seen[-1] == 0 and expected[-1] < 5:
        seen, expected = seen[:-1], expected[:-1]
    freedom = len(seen) - 1
    return (((seen - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {"temperature": 1.0}),
        (1, {"temperature": 1.0}),
        (123456789, {"temperature": 0.5}),
        (2, {"temperature": 2.0, "top_k": 20}),
        (3, {"temperature": 1.0, "top_p": 0.8}),
        (2**32 - 1, {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.05}),
    ],
    ids=str,
)
async def test_draws_follow_the_distribution(device, seed, options):
    logits = normal(257, 2.0, 1)
    p = SamplingParams(**options)
    mask = reference.top_k(logits, p.top_k)
    if p.top_p < 1:
        probability = reference.probabilities(np.where(mask, logits, -np.inf), p.temperature)
        falling = np.argsort(-probability)
        mask[falling[np.searchsorted(np.cumsum(probability[falling]), p.top_p) + 1 :]] = False
    mask &= reference.min_p(logits, p.temperature, p.min_p)
    probability = reference.probabilities(np.where(mask, logits, -np.inf), p.temperature)
    with bench(device) as b:
        drawn = (await Sampler(b, logits, p).draw(2000, seed=seed))[:2000]
    assert mask[drawn].all()
    assert abs(chi_square(drawn, probability)) < 4


async def test_draws_from_many_equal_tokens(device):
    vocab = 4096
    with bench(device) as b:
        drawn = (await Sampler(b, np.zeros(vocab), SamplingParams(temperature=1.0)).draw(2000, seed=3))[:2000]
    assert abs(chi_square(drawn // 64, np.full(64, 1 / 64))) < 4
    assert abs(chi_square(drawn % 64, np.full(64, 1 / 64))) < 4
    assert abs(len(set(drawn)) - vocab * -np.expm1(-2000 / vocab)) < 60
    pairs = drawn[:-1] // 512 * 8 + drawn[1:] // 512
    assert abs(chi_square(pairs, np.full(64, 1 / 64))) < 4


async def test_temperature_near_zero_is_greedy_and_high_is_flat(device):
    logits = normal(257)
    with bench(device) as b:
        assert set((await Sampler(b, logits, SamplingParams(temperature=1e-3)).draw(50))[:50]) == {logits.argmax()}
    with bench(device) as b:
        assert len(set((await Sampler(b, logits, SamplingParams(temperature=10.0)).draw(200))[:200])) > 100


async def test_same_seed_same_tokens(device):
    logits = normal(49152, 2.0)
    p = SamplingParams(temperature=1.0, top_p=0.95)
    with bench(device) as b:
        first = (await Sampler(b, logits, p).draw(20, seed=5))[:20]
    with bench(device) as b:
        sampler = Sampler(b, logits, p)
        again = (await sampler.draw(20, seed=5))[:20]
        other = (await sampler.draw(20, seed=6))[:20]
    np.testing.assert_array_equal(first, again)
    assert (first != other).sum() > 10


async def test_the_draw_depends_on_the_position_not_on_the_chunk(device):
    logits = normal(1000, 0.1)
    p = SamplingParams(temperature=1.0)
    with bench(device) as b:
        sampler = Sampler(b, logits, p)
        whole = (await sampler.draw(position=0, count=10))[0]
        parts = (await sampler.draw(position=7, count=3))[0]
        later = (await sampler.draw(position=8, count=3))[0]
    assert whole == parts
    assert whole != later
