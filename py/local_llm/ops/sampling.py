"""Choosing a token on the GPU: penalties, temperature, top-k, top-p, min-p, the draw. Knows no models and no text."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps
from local_llm.ops.shared import Shared

_LANES = 64
_MOST_PARTS = 64  # `pick` has as many lanes
_LEAST_SPAN = 1024
_LEAST_TEMPERATURE = 1e-6
_NO_MARGIN = -3e38


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen, in this order.

    1. Penalties, on the raw logits. repetition_penalty r: every token seen in prompt or answer has a positive logit
       divided by r, a negative one multiplied (1: off). Tokens seen n times in the answer: minus presence_penalty,
       minus n · frequency_penalty (0: off).
    2. temperature: logits are divided by it. 0 takes the best token, and steps 3 and 4 have no part.
    3. top_k keeps the k best (0: off); top_p the fewest best whose probabilities, among those that top_k kept, sum to
       top_p (1: off); min_p those with at least min_p of the best one's probability (0: off). Tokens that tie
       with the last kept one stay; at least one token stays.
    4. One token is drawn from what is left, by its probability.

    Ranges are checked where options come in (generate/sampler.py).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @property
    def penalises(self) -> bool:
        """Whether any penalty is on."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0

    @property
    def kernels(self) -> tuple[bool, bool, bool]:
        """What of `sample` it needs: penalties, noise, cut."""
        noise = self.temperature > 0
        return self.penalises, noise, noise and (self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0)


def pack_sampling(p: SamplingParams) -> bytes:
    """`struct Sampling` of shaders/lib/sampling.wgsl, 32 bytes."""
    temperature = max(p.temperature, _LEAST_TEMPERATURE)
    margin = max(temperature * math.log(p.min_p), _NO_MARGIN) if p.min_p > 0 else _NO_MARGIN
    penalties = (p.repetition_penalty, p.presence_penalty, p.frequency_penalty)
    return struct.pack("<fIfffff4x", 1 / temperature, p.top_k, p.top_p, margin, *penalties)


@dataclass(frozen=True)
class Candidates:
    """Logits of T rows, for a vocabulary of V tokens, and what they come to.

    logits f32 [T, V], rows padded to a multiple of four: the model writes it. sampling: write pack_sampling(…) before
    a generation. cut u32 [T] and best u32 [T, G, 2] pass between the kernels.
    """

    logits: Buffer
    sampling: Buffer
    cut: Buffer
    best: Buffer
    vocab: int
    rows: int  # T


@dataclass(frozen=True)
class SamplerBuffers(Candidates):
    """Buffers of one generation at a time, for one row of logits.

    counts u32 [V]: bit 31: seen in the prompt (the host writes it), low bits: times in the answer. tokens u32 [T]: the
    chosen id comes to place 0. ring u32 [ring_size]: the ids chosen.
    """

    counts: Buffer
    tokens: Buffer
    ring: Buffer
    ring_size: int


def allocate_candidates(memory: Memory, vocab: int, rows: int, sampling: Buffer) -> Candidates:
    """For `rows` tokens of a step. sampling: the caller's."""
    return Candidates(
        logits=memory.create(4 * rows * -(-vocab // 4) * 4, "logits"),
        sampling=sampling,
        cut=memory.create(4 * rows, "cut"),
        best=memory.create(8 * rows * _MOST_PARTS, "best"),
        vocab=vocab,
        rows=rows,
    )


def allocate_sampler(
    memory: Memory, caps: Caps, vocab: int, ring_size: int, tokens: Buffer, ring: Buffer
) -> SamplerBuffers:
    """Buffers for `sample`; those given are the caller's."""
    return SamplerBuffers(
        logits=memory.create(4 * vocab, "logits"),
        sampling=memory.upload(pack_sampling(SamplingParams()), "sampling"),
        counts=memory.create(4 * vocab, "counts"),
        cut=memory.create(4, "cut"),
        best=memory.create(8 * _MOST_PARTS, "best"),
        tokens=tokens,
        ring=ring,
        vocab=vocab,
        rows=1,
        ring_size=ring_size,
    )


def _lanes(caps: Caps) -> int:
    """One workgroup reads all logits: a GPU needs all the lanes it has; a CPU is slow to start many."""
    return 64 if caps.software else min(caps.max_invocations, 1024)


def sample(s: Shared, buffers: SamplerBuffers, *, penalties: bool, noise: bool, cut: bool) -> list[Call]:
    """Choose a token from buffers.logits and advance s.step.

    penalties: any penalty is on. noise: temperature > 0. cut: top_k, top_p or min_p is on. The draw is the argmax of
    logit / temperature + Gumbel noise made from (step.seed, the new token's position, token id): the same seed
    gives the same tokens. Penalties change the logits in place.
    """
    b = buffers
    calls = []
    if penalties:
        grid = spread(-(-b.vocab // _LANES))
        calls.append(Call(Kernel.of("penalize"), (b.logits, b.counts, b.sampling), grid, pack(b.vocab)))
    best, parts = best_of(s, b, noise=noise, cut=cut)
    pick = (b.best, b.tokens, b.ring, b.counts, s.step)
    return [*calls, *best, Call(Kernel.of("pick"), pick, (1, 1, 1), pack(parts, b.ring_size))]


def best_of(s: Shared, b: Candidates, *, noise: bool, cut: bool, few: bool = False) -> tuple[list[Call], int]:
    """Leave the best tokens of so many parts of the vocabulary in b.best; also how many parts. As in `sample`.

    few: for each of the step's tokens, of b.rows rows of logits, and not for the last one alone.
    """
    rows = b.rows if few else 1
    calls = []
    if cut:
        kernel = Kernel.of("threshold", LANES=_lanes(s.caps))
        calls.append(Call(kernel, (b.logits, b.sampling, b.cut), (rows, 1, 1), pack(b.vocab)))
    span = max(_LEAST_SPAN, -(-b.vocab // _MOST_PARTS))
    parts = -(-b.vocab // span)
    argmax = Kernel.of("argmax", LANES=64 if s.caps.software else 256, NOISE=noise, CUT=cut, FEW=few)
    params = pack(b.vocab, span, -(-b.vocab // 4) * 4)
    calls.append(Call(argmax, (b.logits, b.sampling, b.cut, s.step, b.best), (parts, rows, 1), params))
    return calls, parts
