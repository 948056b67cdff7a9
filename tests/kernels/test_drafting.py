"""Drafts and what counts of them, against plain Python."""

import numpy as np
import pytest

from local_llm.ops.drafting import ANSWERS, allocate_drafts, choose, draft, pack_drafting
from local_llm.ops.sampling import SamplingParams, allocate_sampler, pack_sampling, sample
from tests.kernels.calls import Bench, bench
from tests.reference import drafting as reference

VOCAB, CONTEXT, RING = 257, 700, 64


class Drafter:
    """A sampler and drafts over it, for a text of `ids` whose last `chosen` ids came from the sampler."""

    def __init__(self, b: Bench, ids, chosen: int, tokens: int = 4, p: SamplingParams | None = None) -> None:
        self.b = b
        slots = np.zeros(RING, np.uint32)
        for i, token in enumerate(ids[-chosen:]):
            slots[i % RING] = token
        given = b.memory.create(64, "tokens")
        self.sampler = allocate_sampler(b.memory, b.device.caps, VOCAB, RING, given, b.upload(slots))
        self.drafts = allocate_drafts(b.memory, self.sampler, CONTEXT, tokens)
        self.rows = tokens
        b.device.write(self.sampler.sampling.handle, pack_sampling(p or SamplingParams()))
        b.write(given, np.array([ids[-1]], np.uint32))
        known = len(ids) - min(chosen, RING)
        if known:
            b.write(self.drafts.history, np.array(ids[:known], np.uint32))
        b.set_step(len(ids) - 1, 1, chosen, 77)
        self.limit(1000, CONTEXT, known)

    def limit(self, limit: int, end: int, known: int, steps: int = 0) -> None:
        self.b.device.write(self.drafts.drafting.handle, pack_drafting(limit, end, known, steps))

    async def draft(self):
        """The ids of the step."""
        await self.b.run(draft(self.b.shared, self.sampler, self.drafts))
        count = (await self.b.read(self.b.shared.step, (4,), np.uint32))[1]
        return list(await self.b.read(self.sampler.tokens, (8,), np.uint32))[:count]

    async def choose(self, logits, noise=False, cut=False, step=0):
        """What is chosen: ids, then position, count and index of the step."""
        padded = np.full((self.rows, -(-VOCAB // 4) * 4), np.nan, np.float32)
        padded[:, :VOCAB] = logits
        self.b.write(self.drafts.candidates.logits, padded)
        await self.b.run(choose(self.b.shared, self.sampler, self.drafts, noise=noise, cut=cut))
        answer = (await self.b.read(self.drafts.answers, (ANSWERS, 1 + self.rows), np.uint32))[step % ANSWERS]
        at = await self.b.read(self.b.shared.step, (4,), np.uint32)
        return list(answer[1 : 1 + answer[0]]), tuple(at)


TEXTS = {
    "one id": [5],
    "nothing before": [1, 2, 3, 4],
    "one id in common": [1, 2, 3, 9, 3],
    "two": [1, 2, 3, 4, 5, 9, 1, 2],
    "the last of equals": [1, 2, 3, 1, 2, 4, 1, 2],
    "the longest goes first": [7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2],
    "four are enough": [9, 1, 2, 3, 4, 5, 8, 1, 2, 3, 4, 6, 9, 1, 2, 3, 4],
    "one id again and again": [6, 6, 6],
    "a pattern of two": [1, 2, 1, 2],
    "a pattern of three": [3, 1, 2, 3, 1, 2, 3],
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("tokens", [2, 4, 8])
async def test_texts(device, name, tokens):
    ids = TEXTS[name]
    with bench(device) as b:
        assert await Drafter(b, ids, 1, tokens).draft() == [ids[-1], *reference.draft(ids, tokens - 1)]


@pytest.mark.parametrize("symbols", [2, 5, 30])
async def test_long_texts_of_which_some_is_in_the_ring(device, symbols):
    rng = np.random.default_rng(symbols)
    with bench(device) as b:
        for length, chosen in ((50, 50), (300, 64), (600, 200), (600, 1)):
            ids = rng.integers(0, symbols, length).tolist()
            drafter = Drafter(b, ids, chosen)
            assert await drafter.draft() == [ids[-1], *reference.draft(ids, 3)]
            known = await b.read(drafter.drafts.history, (length,), np.uint32)
            np.testing.assert_array_equal(known, ids)


async def test_no_more_than_what_is_left_of_answer_and_cache(device):
    ids = [1, 2, 3, 4, 1, 2]
    with bench(device) as b:
        drafter = Drafter(b, ids, 2)
        for limit, end, count in ((9, 90, 4), (5, 90, 3), (3, 90, 1), (2, 90, 0), (1, 90, 0), (9, 7, 2), (9, 5, 0)):
            b.set_step(5, 1, 2)
            drafter.limit(limit, end, 4)
            assert await drafter.draft() == [2, 3, 4, 1][:count]
        assert await drafter.choose(np.zeros((4, VOCAB))) == ([], (5, 1, 2, 0))


async def test_what_is_right_counts_and_one_more(device):
    ids = [10, 11, 12, 13, 14, 10, 11]
    for right in range(4):
        with bench(device) as b:
            drafter = Drafter(b, ids, 3)
            assert await drafter.draft() == [11, 12, 13, 14]
            chosen = [12, 13, 14, 15]
            chosen[right] = 99
            logits = np.random.default_rng(right).standard_normal((4, VOCAB))
            logits[range(4), chosen] = 50
            assert await drafter.choose(logits) == (chosen[: right + 1], (6 + right + 1, 1, 3 + right + 1, 77))
            ring = await b.read(drafter.sampler.ring, (RING,), np.uint32)
            assert list(ring[: 5 + right]) == [14, 10, 11, *chosen[: right + 1], 0][: 5 + right]
            assert (await drafter.draft())[:1] == [99]
            text = [*ids, *chosen[: right + 1]]
            assert list(await b.read(drafter.drafts.history, (len(text),), np.uint32)) == text
            logits[0, :] = -1
            logits[0, 7] = 1
            assert (await drafter.choose(logits, step=1))[0] == [7]


@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 40, "min_p": 0.05}], ids=str)
async def test_a_row_is_drawn_as_a_step_of_one_token_would_draw_it(device, options):
    p = SamplingParams(temperature=0.9, **options)
    logits = (np.random.default_rng(3).standard_normal((4, VOCAB)) * 3).astype(np.float32)
    cut = bool(options)
    ids = [10, 11, 12, 13, 14, 10, 11]
    with bench(device) as b:
        single = allocate_sampler(
            b.memory, b.device.caps, VOCAB, RING, b.memory.create(16, "tokens"), b.memory.create(4 * RING, "ring")
        )
        b.device.write(single.sampling.handle, pack_sampling(p))
        for t in range(4):
            b.set_step(6 + t, 1, t, 77)
            b.write(single.logits, logits[t])
            await b.run(sample(b.shared, single, penalties=False, noise=True, cut=cut))
        wanted = list((await b.read(single.ring, (RING,), np.uint32))[:4])
        drafter = Drafter(b, [*ids[:2], *wanted[:3], *ids[-2:]], 1, p=p)
        assert (await drafter.draft())[1:] == wanted[:3]
        assert (await drafter.choose(logits, noise=True, cut=cut))[0] == wanted
