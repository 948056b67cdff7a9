"""Steps of several tokens where what followed before follows again: their kernels and buffers, and whether they pay.

A step drafts on the GPU what may come, computes all of it at once and keeps what is right (ops/drafting.py), so that
no step waits for the host. A token gets the same numbers in either kind of step: the text stays what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from local_llm.generate.preparation import Preparation
from local_llm.gpu.kernel import Call
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Handle
from local_llm.models.agreement import few_agree
from local_llm.models.few import few_head, few_layers, most_few
from local_llm.models.model import Model
from local_llm.ops.attention import REACHES
from local_llm.ops.drafting import ANSWERS, DraftBuffers, allocate_drafts, choose, draft, pack_drafting
from local_llm.ops.sampling import SamplerBuffers

TOKENS = 4  # of a step: the newest one and drafts
ASSUMED = 1.3  # times as long as a step of one token, until it was measured
BEGIN, END = 1.15, 1.02  # what drafts must gain to be begun with, and less than what ends them

Choice = tuple[bool, bool]  # noise, cut: as of ops.sampling.sample


class Speculation:
    """Steps of drafts of one model. seconds: of such a step, smoothed; None before the first."""

    def __init__(self, model: Model, sampler: SamplerBuffers, compiler: Compiler) -> None:
        self.seconds: float | None = None
        self.agrees: bool | None = None  # whether this adapter computes such steps right, once that was tried
        self._model, self._sampler, self._compiler = model, sampler, compiler
        self._device = model.memory.device
        self._buffers: DraftBuffers = allocate_drafts(model.memory, sampler, model.context, TOKENS)
        self._plans: dict[tuple[Choice, int], Handle] = {}
        self._compiled: set[Choice] = set()
        self.preparation = Preparation()
        self._written = 0  # positions of the history that the host has written for this generation
        self._steps = 0  # queued

    def begin(self) -> None:
        """Another text, of which the GPU knows nothing yet."""
        self._written = 0

    def pays(self, expected: float, plain_seconds: float, drafting: bool) -> bool:
        """Whether steps that choose `expected` ids go before plain ones. drafting: whether they are at work now."""
        ratio = self.seconds / plain_seconds if self.seconds else ASSUMED
        return expected > ratio * (END if drafting else BEGIN)

    async def prepare(self, choice: Choice) -> None:
        """Compile what steps need, for positions of all reaches, and try the first time whether they are right."""
        calls = [call for reach in (0, *self._reaches()) for call in self._calls(choice, reach)]
        await self._compiler.prepare(calls)
        if self.agrees is None:
            self.agrees = await few_agree(self._model, TOKENS)
        self._compiled.add(choice)

    def ready(self, choice: Choice) -> bool:
        """Whether steps can be queued. Where not, their kernels are being compiled from now on."""
        if choice not in self._compiled:
            self.preparation.begin(lambda: self.prepare(choice))
        return choice in self._compiled and bool(self.agrees)

    def take_over(self, ids: Sequence[int], limit: int) -> None:
        """Before the first step of drafts after others. ids: prompt and answer as known; limit: ids to choose in all.

        The ids that are not known yet must be among the newest RING of the sampler.
        """
        fresh = ids[self._written :]
        if fresh:
            data = struct.pack(f"<{len(fresh)}I", *fresh)
            self._device.write(self._buffers.history.handle, data, 4 * self._written)
            self._written = len(ids)
        state = pack_drafting(limit, self._model.context, len(ids), self._steps)
        self._device.write(self._buffers.drafting.handle, state)

    def submit(self, choice: Choice, end: int, steps: int) -> tuple[int, Awaitable[bytes]]:
        """Queue at most `steps` steps, of which none reaches position `end`: how many, and what they chose."""
        first = self._steps % ANSWERS
        steps = min(steps, ANSWERS - first)
        self._device.submit(self._plan(choice, next((most for most in self._reaches() if end <= most), 0)), steps)
        self._steps += steps
        row = 4 * (1 + TOKENS)
        return steps, self._device.read(self._buffers.answers.handle, row * steps, row * first)

    def _reaches(self) -> list[int]:
        return [reach for reach in REACHES if reach < self._model.context]

    def _plan(self, choice: Choice, reach: int) -> Handle:
        key = (choice, reach)
        if key not in self._plans:
            self._plans[key] = self._compiler.record(self._calls(choice, reach))
        return self._plans[key]

    def _calls(self, choice: Choice, reach: int) -> list[Call]:
        model, buffers = replace(self._model, reach=reach), self._buffers
        noise, cut = choice
        return [
            *draft(model.shared, self._sampler, buffers),
            *few_layers(model, TOKENS),
            *few_head(model, TOKENS, buffers.candidates.logits),
            *choose(model.shared, self._sampler, buffers, noise=noise, cut=cut),
        ]


def speculation_of(model: Model, sampler: SamplerBuffers, compiler: Compiler) -> Speculation | None:
    """None where the model or the adapter has no kernels for it."""
    return Speculation(model, sampler, compiler) if most_few(model) >= TOKENS else None


def answers_of(data: bytes) -> list[list[int]]:
    """The ids of each step."""
    numbers = struct.unpack(f"<{len(data) // 4}I", data)
    rows = [numbers[i : i + 1 + TOKENS] for i in range(0, len(numbers), 1 + TOKENS)]
    return [list(row[1 : 1 + row[0]]) for row in rows]
