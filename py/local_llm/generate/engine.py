"""The token loop: token ids in, token ids out. Knows no text and no host.

The GPU feeds itself: `pick` leaves the chosen id where the next step reads it, so several steps are queued
before the first one's id is read. What is queued past a stop token only writes cache slots that the next prompt
overwrites.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from local_llm.generate.decoding import RING, Decoding, Drafts, Pace
from local_llm.generate.embedding import embed_ids
from local_llm.generate.ids import common_prefix, pack_ids, packed_prompt
from local_llm.generate.short_steps import short_steps_of
from local_llm.generate.speculation import speculation_of
from local_llm.generate.stats import Timing
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Dispatch, Handle
from local_llm.models.model import Model
from local_llm.ops.attention import REACHES, reach_of
from local_llm.ops.elementwise import last_row
from local_llm.ops.sampling import SamplerBuffers, SamplingParams, allocate_sampler, pack_sampling, sample

SUBMIT_SECONDS = 0.010  # a prefill submit's longest wanted length
FIRST_PIECES = 4
SLOW_PIECES = 16  # from here on pieces are waited for, so that an interruption takes effect within two of them
MOST_PIECES = 256
LOGITS_CHUNK = 32
LEAST_TIMED = 32
COUNTS = (32, 128)  # chunks up to these lengths, or as long as any, have a plan each
PLANS_KEPT = 16

SEEN_IN_PROMPT = 1 << 31


@dataclass(frozen=True)
class Request:
    """One generation. stop_ids end it and are not reported; seed is a u32.

    answered: how many ids at the prompt's end are of an answer that goes on; they count as generated. speculative:
    "auto", "off" or "always", see generate/sampler.py.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop_ids: frozenset[int]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0
    answered: int = 0
    speculative: str = "off"


@dataclass
class Outcome:
    """Filled while a generation runs. finish_reason: "stop", "length", "context" or "interrupted"."""

    timing: Timing
    cached_tokens: int = 0
    finish_reason: str = ""
    token_ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Chunk:
    """Prompt tokens that were submitted together, and when."""

    tokens: int
    begun: float  # seconds


class Engine:
    """The loop over one loaded model. One generation at a time; the caller sees to that."""

    def __init__(self, model: Model, clock: Callable[[], float], foresees: bool = False) -> None:
        """foresees: what short prompts are faster with is prepared after the first answer."""
        self._foresees = foresees
        self._model = model
        self._clock = clock
        self._device = model.memory.device
        self._compiler = Compiler(self._device, model.memory)
        self._ring = model.memory.create(4 * RING, "ring")
        vocab = model.config.vocab
        self._sampler: SamplerBuffers = allocate_sampler(
            model.memory, model.shared.caps, vocab, RING, model.tokens, self._ring
        )
        self._speculation = speculation_of(model, self._sampler, self._compiler)
        self.short = short_steps_of(model, self._compiler)
        self._plans: dict[object, list[Handle]] = {}
        self._steps: dict[tuple[int, int], list[Dispatch]] = {}
        self._counts = sorted({min(count, model.max_chunk) for count in (*COUNTS, model.max_chunk)})
        self._held = b""  # ids, packed, whose keys and values the cache holds, from position 0
        self._reach = 0  # positions below it may have been written since position 0 was, queued steps included
        self._software = model.shared.caps.software
        self._pieces = SLOW_PIECES if self._software else FIRST_PIECES  # submits that a prefill chunk is cut into
        self._chunk = Chunk(0, 0.0)  # the newest
        self._ended = 0.0  # when the newest chunk known to be done was
        self._pace = Pace()
        self._stop = False

    async def prepare(self) -> None:
        """Compile every kernel that any request can need, all at once, and record what most requests begin with."""
        if not self._model.config.causal:
            layers = self._model.family.layers
            return await self._compiler.prepare(layers(self._model, 1) + layers(self._model, 2))
        reaches = () if self._software else [reach for reach in REACHES if reach < self._model.context]
        counts = self._counts[-1:] if self._software else self._counts
        keys = [(1, 0), *((1, reach) for reach in reaches), *((count, 0) for count in counts)]
        steps = {key: self._model_calls(*key) for key in keys}
        kinds = (SamplingParams(), SamplingParams(1.0), SamplingParams(1.0, top_k=40, repetition_penalty=1.1))
        tails = [call for kind in kinds for call in self._tail_calls(kind, count=2)]
        await self._compiler.prepare([call for calls in steps.values() for call in calls] + tails)
        if not self._software:
            self._steps = {key: self._compiler.bind(calls) for key, calls in steps.items()}

    async def close(self) -> None:
        """The model is about to be freed: end what is prepared for later."""
        for steps in (self.short, self._speculation):
            if steps is not None:
                await steps.preparation.stop()

    def interrupt(self) -> None:
        """End the running generation at the next token; what is queued on the GPU is at most two short batches."""
        self._stop = True

    def begin(self) -> None:
        """What was interrupted before does not end the next generation; what is interrupted from here on does."""
        self._stop = False

    async def generate(self, request: Request, outcome: Outcome) -> AsyncGenerator[list[int]]:
        """Yield ids as they come, in order. Closing the generator stops the GPU work."""
        packed = self._packed(request.prompt)
        self._begin(request, packed)
        if request.answered:
            await self._prefill(request, packed)
        else:
            outcome.timing.start()
            outcome.cached_tokens = await self._prefill(request, packed)
        if self._stop:
            outcome.finish_reason = "interrupted"
            return
        room = self._model.context - len(request.prompt) + request.answered + 1
        goal = min(request.max_tokens, room)
        decoding = await self._decoding(request, outcome.timing, goal - request.answered)
        try:
            while not decoding.over:
                decoding.queue_ahead()
                self._reach = max(self._reach, decoding.reach)
                first = outcome.timing.first is None
                ids = await decoding.next()
                if first:
                    self._chunk_ended(self._chunk)
                fresh, ended = self._accept(request, outcome, ids, goal)
                if fresh:
                    yield fresh
                if ended:
                    return
        finally:
            self._held = packed + pack_ids(outcome.token_ids[request.answered : -1])
            outcome.finish_reason = outcome.finish_reason or "interrupted"
            await decoding.drop()
            if self._foresees and self.short is not None:
                self.short.foresee()

    async def _decoding(self, request: Request, timing: Timing, goal: int) -> Decoding:
        penalties, *choice = request.sampling.kernels
        drafts = None
        if self._speculation is not None and not penalties and request.speculative != "off":
            drafts = Drafts(self._speculation, (choice[0], choice[1]), request.speculative == "always")
            if drafts.always:
                await self._speculation.prepare(drafts.choice)
        plan = partial(self._decode_plan, request.sampling)
        pace, ring = self._pace, self._ring.handle
        return Decoding(self._device, ring, plan, request.prompt, goal, pace, self._clock, timing, drafts)

    def _accept(self, request: Request, outcome: Outcome, ids: list[int], goal: int) -> tuple[list[int], bool]:
        """The ids to report, and whether the generation is over."""
        fresh = ids[: goal - len(outcome.token_ids)]
        if not request.stop_ids.isdisjoint(fresh):
            fresh = fresh[: next(place for place, token in enumerate(fresh) if token in request.stop_ids)]
            outcome.finish_reason = "stop"
        outcome.token_ids += fresh
        if not outcome.finish_reason and len(outcome.token_ids) >= goal:
            outcome.finish_reason = "length" if goal == request.max_tokens else "context"
        if not outcome.finish_reason and self._stop:
            outcome.finish_reason = "interrupted"
        return fresh, bool(outcome.finish_reason)

    def _begin(self, request: Request, ids: bytes) -> None:
        self._device.write(self._sampler.sampling.handle, pack_sampling(request.sampling))
        if request.sampling.penalises:
            counts = np.zeros(self._model.config.vocab, "<u4")
            asked, answered = np.split(np.frombuffer(ids, "<u4"), [len(request.prompt) - request.answered])
            counts[asked] = SEEN_IN_PROMPT
            np.add.at(counts, answered, 1)
            self._device.write(self._sampler.counts.handle, counts.tobytes())

    def _decode_plan(self, sampling: SamplingParams, end: int) -> Handle:
        """One step, for positions below `end`: attention is split by how many there are."""
        reach = reach_of(end)
        return self._recorded(
            ("decode", sampling.kernels, reach),
            lambda: [self._step(1, reach) + self._compiler.bind(self._tail_calls(sampling, count=1))],
        )[0]

    def _packed(self, ids: Sequence[int]) -> bytes:
        return packed_prompt(ids, self._model.config.vocab, self._model.context)

    async def _prefill(self, request: Request, ids: bytes) -> int:
        """Compute the prompt's keys and values and choose the first token. Returns tokens found in the cache."""
        tokens = len(request.prompt)
        start = common_prefix(self._held, ids[:-4])
        if not self._holds_window_before(start):
            start = 0
        cached = start
        self._held = ids[: 4 * start]
        self._reach = self._reach if start else 0
        before: tuple[Awaitable[None], Chunk] | None = None  # waited for while the next chunk is at work
        while start < tokens and not self._stop:
            count = min(self._model.max_chunk, tokens - start)
            if self.short is not None and self.short.takes(count):
                count = min(count, self.short.tokens)
            left = tokens - start - count
            self._write_step(ids[4 * start : 4 * (start + count)], start, request.seed)
            self._reach = max(self._reach, start + count)
            pieces = self._prefill_plan(count, start + count)
            if not await self._run_chunk(count, pieces, None if left else request.sampling):
                break
            start += count
            self._held = ids[: 4 * start]
            # So that two are queued at most, and to see what it took, of which few tokens tell too little: the last
            # two chunks of such are queued at once, and behind them what reads the first token.
            awaited = left > count or (left and count >= LEAST_TIMED)
            ended = self._device.idle() if awaited else None
            if before is not None:
                await before[0]
                self._chunk_ended(before[1])
            before = None if ended is None else (ended, self._chunk)
        return cached

    def _holds_window_before(self, position: int) -> bool:
        """Whether what a query at `position` sees is still in the rings, where later positions take earlier places."""
        rings = [heads for heads in self._model.heads if heads.ring]
        return all(self._reach - ring.context <= max(0, position + 1 - ring.window) for ring in rings)

    def _prefill_plan(self, count: int, end: int) -> list[Handle]:
        """A chunk's step. A plan serves all counts up to its own: prompts of any length find one recorded already."""
        if self.short is not None and self.short.takes(count):
            reach, step = self.short.step(end)
            return self._recorded(("short", reach), lambda: [step])
        if count == 1 and not self._software:
            reach = reach_of(end)
            return self._recorded(("one", reach), lambda: [self._step(1, reach)])
        most = count if count == 1 or self._software else next(most for most in self._counts if count <= most)
        return self._recorded(("prefill", most, self._pieces), lambda: _cut(self._step(most), self._pieces))

    async def _run_chunk(self, count: int, pieces: list[Handle], sampling: SamplingParams | None) -> bool:
        """Submit one chunk in several pieces, so that none holds the GPU for long and the page's frames get in between.

        False where it was interrupted before its end. On a slow adapter at most two pieces are queued.
        """
        if sampling is not None:
            tail = partial(self._tail_calls, sampling, count)
            pieces = pieces + self._recorded(
                ("tail", count > 1, sampling.kernels), lambda: [self._compiler.bind(tail())]
            )
        self._chunk = Chunk(count, self._clock())
        before: Awaitable[None] | None = None
        for index, piece in enumerate(pieces):
            if self._stop:
                break
            self._device.submit(piece)
            if self._pieces >= SLOW_PIECES and index < len(pieces) - 1:
                ended = self._device.idle()
                if before is not None:
                    await before
                before = ended
        if before is not None:
            await before
        return not self._stop

    def _chunk_ended(self, chunk: Chunk) -> None:
        """Choose into how many pieces the next chunk is cut, by what this one took; a few tokens tell too little."""
        now = self._clock()
        seconds, self._ended = now - max(chunk.begun, self._ended), now
        if chunk.tokens >= LEAST_TIMED:
            wanted = seconds * self._model.max_chunk / chunk.tokens / SUBMIT_SECONDS
            self._pieces = min(MOST_PIECES, 1 << max(0, math.ceil(math.log2(max(wanted, 1e-3)))))

    def _write_step(self, ids: bytes, position: int, seed: int) -> None:
        self._device.write(self._model.tokens.handle, ids)
        self._device.write(self._model.shared.step.handle, struct.pack("<4I", position, len(ids) // 4, 0, seed))

    def _recorded(self, key: object, parts: Callable[[], list[list[Dispatch]]]) -> list[Handle]:
        """Recordings that make one plan together."""
        if key not in self._plans:
            if len(self._plans) >= PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = [self._device.record(part) for part in parts()]
        return self._plans[key]

    def _step(self, count: int, reach: int = 0) -> list[Dispatch]:
        """The model's part of a step of up to `count` tokens. What a GPU needs is kept, the lengths of others vary."""
        if (count, reach) in self._steps:
            return self._steps[count, reach]
        bound = self._compiler.bind(self._model_calls(count, reach))
        if count == 1:
            self._steps[count, reach] = bound
        return bound

    def _model_calls(self, count: int, reach: int = 0) -> list[Call]:
        return self._model.family.layers(replace(self._model, reach=reach), count)

    def _tail_calls(self, sampling: SamplingParams, count: int) -> list[Call]:
        """The last row's logits and the choice of a token, after a step of `count` tokens."""
        model, x = self._model, self._model.scratch.x
        calls: list[Call] = []
        if count > 1:
            calls += last_row(model.shared, x, model.scratch.last, model.config.width)
            x = model.scratch.last
        calls += model.family.head(model, x, 1, self._sampler.logits)
        penalties, noise, cut = sampling.kernels
        return calls + sample(model.shared, self._sampler, penalties=penalties, noise=noise, cut=cut)

    async def logits(self, ids: Sequence[int], chunk: int = LOGITS_CHUNK) -> np.ndarray:
        """Teacher forcing: float32 [T, V], row t for the token after ids[t]. Replaces the cache's content.

        chunk: tokens computed together; 1 takes the way of decoding.
        """
        packed = self._packed(ids)
        self._held = b""
        model, vocab = self._model, self._model.config.vocab
        rows = np.empty((len(ids), vocab), np.float32)
        memory = Memory(self._device)
        try:
            chunk = max(1, min(chunk, model.max_chunk, model.shared.caps.max_binding_bytes // (4 * vocab)))
            out = memory.create(4 * chunk * vocab, "all logits")
            compiler = Compiler(self._device, memory)
            for start in range(0, len(ids), chunk):
                part = ids[start : start + chunk]
                calls = model.family.layers(model, len(part))
                calls += model.family.head(model, model.scratch.x, len(part), out)
                await compiler.prepare(calls)
                self._write_step(packed[4 * start : 4 * (start + len(part))], start, 0)
                self._device.submit(compiler.record(calls))
                data = await self._device.read(out.handle, 4 * len(part) * vocab)
                rows[start : start + len(part)] = np.frombuffer(data, np.float32).reshape(len(part), vocab)
        finally:
            memory.close()
        return rows

    async def embed(self, texts: Sequence[Sequence[int]], pooling: str | None = None) -> np.ndarray:
        """float32 [N, D], one vector of length 1 for the ids of each text. Replaces the cache's content."""
        self._held = b""
        memory = Memory(self._device)
        try:
            compiler = Compiler(self._device, memory)
            vectors = [await embed_ids(self._model, compiler, ids, pooling) for ids in texts]
        finally:
            memory.close()
        return np.stack(vectors) if vectors else np.empty((0, self._model.config.width), np.float32)


def _cut(dispatches: list[Dispatch], pieces: int) -> list[list[Dispatch]]:
    """At most `pieces` parts of about equal length."""
    size = -(-len(dispatches) // pieces)
    return [dispatches[i : i + size] for i in range(0, len(dispatches), size)]
