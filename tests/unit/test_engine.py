"""The token loop against a device that plays the kernels' part: what is queued, read, reused and left alone."""

import struct
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from local_llm.errors import ContextOverflow, InvalidRequest
from local_llm.generate.engine import RING, Engine, Outcome, Request
from local_llm.generate.stats import Timing
from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Memory
from local_llm.models.config import Attention, Config
from local_llm.models.model import Model, Scratch
from local_llm.models.rope import Rope
from local_llm.models.weights import Weights
from local_llm.ops.attention import Heads
from local_llm.ops.shared import Shared
from tests.reference.recording_device import CAPS, RecordingDevice

VOCAB, CONTEXT, CHUNK = 500, 64, 16


class Chant:
    """A family whose next token is always the last one plus one."""

    def read_config(self, checkpoint):
        raise AssertionError("not asked for")  # the model is made by hand

    def stacks(self, checkpoint, config):
        raise AssertionError("not asked for")

    def layers(self, model, tokens):
        return [Call(Kernel.of("embed", {"weight": "f32"}), (model.tokens,), (tokens, 1, 1))]

    def head(self, model, x, tokens, logits):
        return [Call(Kernel.of("rms_norm"), (x, logits), (tokens, 1, 1))]


@dataclass
class Rig:
    device: RecordingDevice
    model: Model
    engine: Engine
    chunks: list

    async def run(self, prompt, **options):
        request = Request(tuple(prompt), **{"max_tokens": 10, "stop_ids": frozenset(), **options})
        outcome = Outcome(Timing(Clock()))
        ids = []
        async with aclosing(self.engine.generate(request, outcome)) as steps:
            async for fresh in steps:
                ids += fresh
        return ids, outcome


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.001
        return self.now


@pytest.fixture
def rig():
    return make_rig(Heads(1, 1, 8, 8, CONTEXT, True, 1.0))


def make_rig(heads, software=True):
    device = RecordingDevice(replace(CAPS, software=software))
    memory = Memory(device)
    config = Config("chant", 1, 8, 1, 1, 8, 8, VOCAB, CONTEXT, 1e-5, (Attention(Rope(1e4, 8, True)),), 1.0)
    buffers = [memory.create(1024, "scratch") for _ in range(7)]
    shared = Shared(device.caps, memory.create(16, "step"), memory.create(16, "dummy"))
    tokens = memory.create(4 * CHUNK, "tokens")
    rope = memory.create(16, "rope")
    weights, scratch = Weights({}, {}), Scratch(*buffers)
    model = Model(Chant(), config, memory, weights, shared, (heads,), (), (rope,), scratch, tokens, CONTEXT, CHUNK)
    engine = Engine(model, Clock())
    rig = Rig(device, model, engine, [])

    def play(dispatches):
        step = shared.step.handle
        position, count, index, seed = struct.unpack_from("<4I", step)
        if any(dispatch.pipeline == "embed" for dispatch in dispatches):
            rig.chunks.append((position, count))
        if any(dispatch.pipeline == "pick" for dispatch in dispatches):
            last = struct.unpack_from("<I", tokens.handle, 4 * (count - 1))[0]
            struct.pack_into("<I", tokens.handle, 0, last + 1)
            struct.pack_into("<I", engine._ring.handle, 4 * (index % RING), last + 1)
            struct.pack_into("<4I", step, 0, position + count, 1, index + 1, seed)

    device.on_submit = play
    return rig


async def test_ids_come_in_order_and_max_tokens_ends_them(rig):
    await rig.engine.prepare()
    ids, outcome = await rig.run([5, 6, 7])
    assert ids == [8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert (outcome.finish_reason, outcome.token_ids) == ("length", ids)


async def test_a_stop_token_ends_the_answer_and_is_not_part_of_it(rig):
    await rig.engine.prepare()
    ids, outcome = await rig.run([1], stop_ids=frozenset({4}))
    assert (ids, outcome.finish_reason) == ([2, 3], "stop")


async def test_steps_are_queued_before_their_tokens_are_read(rig):
    await rig.engine.prepare()
    request = Request((1,), 30, frozenset())
    async with aclosing(rig.engine.generate(request, Outcome(Timing(Clock())))) as steps:
        await anext(steps)
        assert len(rig.chunks) >= 3  # the first token was seen; two more steps were under way


async def test_a_prompt_is_computed_in_chunks(rig):
    await rig.engine.prepare()
    ids, _ = await rig.run(range(100, 140), max_tokens=1)
    assert rig.chunks == [(0, 16), (16, 16), (32, 8)]
    assert ids == [140]


async def test_on_a_gpu_a_recording_serves_prompts_of_any_length():
    rig = make_rig(Heads(1, 1, 8, 8, CONTEXT, True, 1.0), software=False)
    await rig.engine.prepare()
    await rig.run([1, 2, 3])
    recorded = rig.device.recordings
    ids, _ = await rig.run(range(100, 137))
    assert ids == [*range(137, 147)]
    assert rig.chunks[-12:-9] == [(0, 16), (16, 16), (32, 5)]
    assert rig.device.recordings == recorded


async def test_on_a_slow_adapter_at_most_two_pieces_are_queued(rig):
    await rig.engine.prepare()
    rig.engine._pieces = 16
    waiting, most = [], 0
    idle, submit = rig.device.idle, rig.device.submit

    async def ended(count):
        await idle()
        del waiting[:count]

    def counted(recorded, times=1):
        nonlocal most
        waiting.append(recorded)
        most = max(most, len(waiting))
        submit(recorded, times)

    rig.model.family.layers = lambda model, tokens: [
        Call(Kernel.of("embed", {"weight": "f32"}), (model.tokens,), (n + 1, 1, 1)) for n in range(16)
    ]
    rig.device.idle, rig.device.submit = lambda: ended(len(waiting)), counted
    await rig.run([1, 2, 3], max_tokens=1)
    assert most == 2


@pytest.mark.parametrize(("tokens", "waits"), [(16, 0), (30, 0), (45, 1), (64, 2)])
async def test_the_last_two_chunks_of_few_tokens_are_queued_at_once_and_what_reads_the_first_id(tokens, waits):
    rig = make_rig(Heads(1, 1, 8, 8, CONTEXT, True, 1.0), software=False)
    await rig.engine.prepare()
    calls = []

    def noted(name, plain):
        setattr(rig.device, name, lambda *given: (calls.append(name), plain(*given))[1])

    for name in ("submit", "idle", "read"):
        noted(name, getattr(rig.device, name))
    ids, _ = await rig.run(range(100, 100 + tokens), max_tokens=1)
    assert ids == [100 + tokens]
    assert calls.count("idle") == waits
    assert calls[-2:] == ["submit", "read"]


async def test_the_common_prefix_is_not_computed_again(rig):
    await rig.engine.prepare()
    ids, _ = await rig.run([1, 2, 3], max_tokens=3)
    rig.chunks.clear()
    _, outcome = await rig.run([1, 2, 3, *ids, 40, 41], max_tokens=1)
    assert outcome.cached_tokens == 5  # the prompt and all answered tokens but the last, which was never fed
    assert rig.chunks[0] == (5, 3)


@pytest.mark.parametrize("length", range(12))
async def test_a_prefix_of_any_length_is_found(rig, length):
    await rig.engine.prepare()
    await rig.run(list(range(1, 12)), max_tokens=1)
    other = [*range(1, 1 + length), *([100] if length < 11 else []), *range(2 + length, 14)]
    _, outcome = await rig.run(other, max_tokens=1)
    assert outcome.cached_tokens == length
    _, outcome = await rig.run(other[:5], max_tokens=1)  # all of it is there; its last token is computed again
    assert outcome.cached_tokens == 4


async def test_a_prefix_that_a_ring_no_longer_holds_is_computed_again():
    rig = make_rig(Heads(1, 1, 8, 8, 24, True, 1.0, window=8, ring=True))
    await rig.engine.prepare()
    ids, _ = await rig.run([1, 2, 3], max_tokens=20)  # positions 0 to 21: all still there
    _, outcome = await rig.run([1, 2, 3, *ids[:10], 40], max_tokens=1)
    assert outcome.cached_tokens == 13
    _, outcome = await rig.run([1, 2, 3, *ids[:10], 41, *range(50, 70)], max_tokens=1)  # to 33: 10 to 33 are there
    assert outcome.cached_tokens == 13
    _, outcome = await rig.run([1, 2, 3, *ids[:10], 41, *range(50, 53), 7], max_tokens=1)
    assert outcome.cached_tokens == 17  # whose window begins at 10
    rig.chunks.clear()
    _, outcome = await rig.run([1, 2, 3, *ids[:10], 41, 50, 51, 8], max_tokens=1)
    assert outcome.cached_tokens == 0  # 16 would need 9
    assert rig.chunks[0] == (0, 16)


async def test_the_same_prompt_again_computes_its_last_token_only(rig):
    await rig.engine.prepare()
    await rig.run([1, 2, 3], max_tokens=2)
    rig.chunks.clear()
    ids, outcome = await rig.run([1, 2, 3], max_tokens=2)
    assert (ids, outcome.cached_tokens, rig.chunks[0]) == ([4, 5], 2, (2, 1))


async def test_closing_early_leaves_the_engine_ready(rig):
    await rig.engine.prepare()
    request, outcome = Request((1,), 30, frozenset()), Outcome(Timing(Clock()))
    async with aclosing(rig.engine.generate(request, outcome)) as steps:
        await anext(steps)
    assert outcome.finish_reason == "interrupted"
    assert (await rig.run([9], max_tokens=2))[0] == [10, 11]


async def test_interrupt_ends_after_the_token_at_hand(rig):
    await rig.engine.prepare()
    request, outcome = Request((1,), 30, frozenset()), Outcome(Timing(Clock()))
    seen = []
    async for fresh in rig.engine.generate(request, outcome):
        seen += fresh
        rig.engine.interrupt()
    assert outcome.finish_reason == "interrupted"
    assert len(seen) < 10


async def test_the_answer_ends_where_the_cache_is_full(rig):
    await rig.engine.prepare()
    ids, outcome = await rig.run(range(60), max_tokens=100)
    assert (len(ids), outcome.finish_reason) == (5, "context")


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        ([], InvalidRequest, "no tokens"),
        (range(65), ContextOverflow, "65 tokens; the cache holds 64"),
        ([500], InvalidRequest, "500 is outside"),
        ([-1], InvalidRequest, "-1 is outside"),
        ([*range(20), 1 << 40, 500], InvalidRequest, f"{1 << 40} is outside the vocabulary of 500"),
    ],
)
async def test_prompts_that_cannot_be_computed_are_refused(rig, prompt, error, says):
    await rig.engine.prepare()
    with pytest.raises(error, match=says):
        await rig.run(prompt)
    assert rig.chunks == []
