"""Short prompts, and what is new of long ones, in steps of a few tokens.

The kernels for many tokens take about as long for 16 as for 128: a GPU is not filled by less. Those for a few read all
weights again for each eight tokens (four where workgroups have little memory), and are done several times sooner.
Knows neither sampling nor the cache's content.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm.generate.preparation import Preparation
from local_llm.gpu.kernel import Call
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Dispatch
from local_llm.models.agreement import few_agree
from local_llm.models.few import few_layers, most_few
from local_llm.models.model import Model
from local_llm.ops.attention import REACHES, reach_of

MOST_STEPS = 4  # of a prompt that is computed so; measured on an H200, see docs/log.md


class ShortSteps:
    """Steps of up to `tokens` tokens of one model, once they were tried on its adapter.

    longest: what of a prompt is computed so, in tokens.
    """

    def __init__(self, model: Model, compiler: Compiler, tokens: int) -> None:
        self._model, self._compiler = model, compiler
        self.tokens, self.longest = tokens, MOST_STEPS * tokens
        self.agrees: bool | None = None  # whether this adapter computes such steps right, once that was tried
        self.preparation = Preparation()
        self._steps: dict[int, list[Dispatch]] = {}  # by reach

    async def prepare(self) -> None:
        """Compile, and try whether such steps leave what steps of one token leave."""
        reaches = [0, *(reach for reach in REACHES if reach < self._model.context)]
        calls = {reach: self._calls(reach) for reach in reaches}
        await self._compiler.prepare([call for some in calls.values() for call in some])
        self.agrees = await few_agree(self._model, self.tokens, alike=False)
        self._steps = {reach: self._compiler.bind(some) for reach, some in calls.items()}

    @property
    def ready(self) -> bool:
        """Whether steps can be queued."""
        return bool(self.agrees) and bool(self._steps)

    def takes(self, count: int) -> bool:
        """Whether so many tokens that are left of a prompt take such steps."""
        return 1 < count <= self.longest and self.ready

    def foresee(self) -> None:
        """Prepare them from now on, unless that was done."""
        if self.agrees is None:
            self.preparation.begin(self.prepare)

    def step(self, end: int) -> tuple[int, list[Dispatch]]:
        """One for tokens at positions below `end`, and the reach that it is for."""
        reach = reach_of(end) if reach_of(end) in self._steps else 0
        return reach, self._steps[reach]

    def _calls(self, reach: int) -> list[Call]:
        return few_layers(replace(self._model, reach=reach), self.tokens, alike=False)


def short_steps_of(model: Model, compiler: Compiler) -> ShortSteps | None:
    """None where the model or the adapter has no kernels for it."""
    tokens = most_few(model)
    return ShortSteps(model, compiler, tokens) if tokens else None
