"""The decode steps of one generation: queued ahead in batches, plain ones or steps of drafts, and read as they end.

Knows ids and positions, no text and no prompt's way into the cache.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from local_llm.errors import DeviceLost
from local_llm.generate.foresight import Foresight
from local_llm.generate.speculation import TOKENS, Choice, Speculation, answers_of
from local_llm.generate.stats import Timing
from local_llm.gpu.ports import Device, Handle

RING = 1024
MAX_BATCH = 32  # most decode steps in one submit
IN_FLIGHT = 2  # batches queued ahead of the host
BATCH_SECONDS = 0.016  # a batch's target length: one frame


@dataclass
class Pace:
    """seconds: of a plain step, smoothed; outlives a generation."""

    seconds: float = BATCH_SECONDS

    def saw(self, seconds: float) -> None:
        self.seconds = smoothed(self.seconds, seconds)


def smoothed(before: float | None, seconds: float) -> float:
    return seconds if before is None else before + 0.3 * (seconds - before)


@dataclass(frozen=True)
class Batch:
    """Steps in flight, and what they will have chosen. steady: nothing but the GPU's work was waited for before."""

    steps: int
    drafted: bool
    data: Awaitable[bytes]
    steady: bool = True


@dataclass(frozen=True)
class Drafts:
    """How a generation uses steps of drafts. always: whether it pays or not."""

    speculation: Speculation
    choice: Choice
    always: bool = False


class Decoding:
    """Ids of the answer, from the first on, which the prompt's last step chooses; `goal` in all."""

    def __init__(
        self,
        device: Device,
        ring: Handle,
        plan: Callable[[int], Handle],
        prompt: Sequence[int],
        goal: int,
        pace: Pace,
        clock: Callable[[], float],
        timing: Timing,
        drafts: Drafts | None,
    ) -> None:
        """plan: a recording of a plain step for positions below the one given."""
        self._device, self._ring, self._plan, self._pace = device, ring, plan, pace
        self._clock, self._timing, self._drafts, self._goal = clock, timing, drafts, goal
        self._prompt = len(prompt)
        self._ids = list(prompt)
        self._foresight: Foresight | None = None
        self._newest_drafted = False
        self._pending: deque[Batch] = deque([Batch(1, False, self._read(0, 1), steady=False)])
        if drafts is not None:
            drafts.speculation.begin()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to queue or to read."""
        return not self._pending and self._chosen() >= self._goal

    @property
    def reach(self) -> int:
        """Positions below it may have been written to."""
        return self._prompt + min(self._most_chosen(), self._goal) - 1

    def queue_ahead(self) -> None:
        """Keep the GPU fed: submit batches until enough are in flight."""
        while len(self._pending) <= IN_FLIGHT and self._likely_chosen() < self._goal:
            if self._drafts is not None and self._wants_drafts(self._drafts):
                self._queue_drafts(self._drafts)
            elif any(batch.drafted for batch in self._pending):
                return  # the ring's next slot is not known before these are read
            else:
                self._queue_plain()

    async def next(self) -> list[int]:
        """The ids that the oldest batch chose."""
        batch = self._pending.popleft()
        before = self._clock()
        data = await batch.data
        had = self._timing.last
        rows = answers_of(data) if batch.drafted else []
        ids = [token for row in rows for token in row] if rows else [*struct.unpack(f"<{len(data) // 4}I", data)]
        self._timing.saw(len(ids), sum(map(bool, rows)) if rows else batch.steps)
        if had is not None and batch.steady and (not rows or rows[-1]):  # from arrivals of whole batches
            self._measured(batch, max((self._clock() - max(had, before - BATCH_SECONDS)) / batch.steps, 1e-5))
        self._ids += ids
        self._look_ahead(ids)
        return ids

    async def drop(self) -> None:
        """Wait for what is in flight and nobody wants."""
        for batch in self._pending:
            with suppress(DeviceLost):
                await batch.data

    def _measured(self, batch: Batch, seconds: float) -> None:
        if not batch.drafted:
            self._pace.saw(seconds)
        elif self._drafts is not None:
            speculation = self._drafts.speculation  # a first step that took long must not be the last
            speculation.seconds = min(seconds, smoothed(speculation.seconds, seconds))

    def _look_ahead(self, ids: Sequence[int]) -> None:
        if self._drafts is None:
            return
        if self._foresight is None:  # while the GPU is at work on what comes after the first id
            self._foresight = Foresight(self._ids, TOKENS - 1)
        else:
            self._foresight.saw(ids)

    def _wants_drafts(self, drafts: Drafts) -> bool:
        if drafts.always:
            return bool(drafts.speculation.agrees)
        expected = self._expected()
        pays = expected > 1 and drafts.speculation.pays(expected, self._pace.seconds, self._newest_drafted)
        return pays and drafts.speculation.ready(drafts.choice)

    def _expected(self) -> float:
        return self._foresight.expected if self._foresight else 1.0

    def _chosen(self) -> int:
        return len(self._ids) - self._prompt

    def _most_chosen(self) -> int:
        return self._chosen() + sum(batch.steps * (TOKENS if batch.drafted else 1) for batch in self._pending)

    def _likely_chosen(self) -> float:
        """Once all that is in flight is done; less than the goal at most until then."""
        likely = sum(batch.steps * (self._expected() if batch.drafted else 1) for batch in self._pending)
        return self._chosen() + likely

    def _queue_plain(self) -> None:
        queued = self._most_chosen()
        steps = max(1, min(MAX_BATCH, int(BATCH_SECONDS / self._pace.seconds)))
        steps = min(steps, self._goal - queued, RING - queued % RING)
        self._device.submit(self._plan(self._prompt + queued + steps), steps)
        steady = not self._newest_drafted
        self._newest_drafted = False
        self._pending.append(Batch(steps, False, self._read(queued, steps), steady))

    def _queue_drafts(self, drafts: Drafts) -> None:
        if not self._newest_drafted:
            drafts.speculation.take_over(self._ids, self._goal)
        steady = self._newest_drafted
        self._newest_drafted = True
        steps = max(1, min(MAX_BATCH, int(BATCH_SECONDS / (drafts.speculation.seconds or self._pace.seconds))))
        left = self._goal - self._likely_chosen()
        steps = min(steps, max(1, round(left / self._expected())))
        end = self._prompt + min(self._most_chosen() + steps * TOKENS, self._goal)
        steps, data = drafts.speculation.submit(drafts.choice, end, steps)
        self._pending.append(Batch(steps, True, data, steady))

    def _read(self, index: int, count: int) -> Awaitable[bytes]:
        return self._device.read(self._ring, 4 * count, 4 * (index % RING))
