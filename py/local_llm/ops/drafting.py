"""Steps of several tokens: what followed the newest ids before is drafted, and counts as far as it is what is chosen.

Knows no models and no text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from local_llm.gpu.kernel import Call, Kernel, pack
from local_llm.gpu.memory import Buffer, Memory
from local_llm.ops.sampling import Candidates, SamplerBuffers, allocate_candidates, best_of
from local_llm.ops.shared import Shared

ANSWERS = 256  # steps that `answers` keeps
LEAST, MOST = 2, 4  # ids in common with an earlier place, as in draft.wgsl


@dataclass(frozen=True)
class DraftBuffers:
    """Beside a sampler's, for steps of T = candidates.rows tokens.

    history u32 [C]: ids by position. drafting: write pack_drafting(…). answers u32 [ANSWERS, 1 + T]: of each step how
    many ids it chose, and which.
    """

    candidates: Candidates
    history: Buffer
    drafting: Buffer
    answers: Buffer


def allocate_drafts(memory: Memory, sampler: SamplerBuffers, context: int, tokens: int) -> DraftBuffers:
    """For a context of C positions and steps of `tokens`, 2 to 8."""
    return DraftBuffers(
        candidates=allocate_candidates(memory, sampler.vocab, tokens, sampler.sampling),
        history=memory.create(4 * (context + 1), "history"),
        drafting=memory.create(16, "drafting"),
        answers=memory.create(4 * ANSWERS * (1 + tokens), "answers"),
    )


def pack_drafting(limit: int, end: int, known: int, steps: int) -> bytes:
    """`struct Drafting` of shaders/lib/drafting.wgsl: ids to choose in all, positions there are, those in history."""
    return struct.pack("<4I", limit, end, known, steps)


def draft(s: Shared, sampler: SamplerBuffers, buffers: DraftBuffers) -> list[Call]:
    """Tokens for the next step behind the newest one, and how many, in s.step."""
    lanes = min(s.caps.max_invocations, 1024)
    kernel = Kernel.of("draft", LANES=lanes, DRAFTS=buffers.candidates.rows - 1)
    used = (buffers.history, sampler.ring, sampler.tokens, buffers.drafting, s.step)
    return [Call(kernel, used, (1, 1, 1), pack(sampler.ring_size))]


def choose(s: Shared, sampler: SamplerBuffers, buffers: DraftBuffers, *, noise: bool, cut: bool) -> list[Call]:
    """As `sample` without penalties for every row of the candidates' logits; s.step moves on by what was right."""
    rows = buffers.candidates
    calls, parts = best_of(s, rows, noise=noise, cut=cut, few=True)
    used = (rows.best, sampler.tokens, sampler.ring, buffers.answers, buffers.drafting, s.step)
    params = pack(parts, sampler.ring_size, ANSWERS)
    return [*calls, Call(Kernel.of("verify", TOKENS=rows.rows), used, (1, 1, 1), params)]
