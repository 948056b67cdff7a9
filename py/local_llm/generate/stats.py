"""What one generation cost, on a clock that the host provides. Knows no text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def steady(clock: Callable[[], float]) -> Callable[[], float]:
    """The same clock, standing still for a moment wherever it would go back."""
    last, lead = clock(), 0.0

    def now() -> float:
        nonlocal last, lead
        told = clock()
        lead += max(0.0, last - told)
        last = told
        return told + lead

    return now


@dataclass
class Timing:
    """Seconds since some origin; None where it has not happened yet."""

    clock: Callable[[], float]
    started: float = 0.0
    first: float | None = None
    last: float | None = None
    tokens: int = 0
    steps: int = 0  # that chose them

    def start(self) -> None:
        self.started = self.clock()

    def saw(self, count: int, steps: int) -> None:
        """`count` tokens arrived now, which so many steps chose."""
        now = self.clock()
        self.first = now if self.first is None else self.first
        self.last = now
        self.tokens += count
        self.steps += steps

    @property
    def time_to_first_token(self) -> float | None:
        return None if self.first is None else self.first - self.started

    @property
    def elapsed(self) -> float:
        return (self.last if self.last is not None else self.clock()) - self.started

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed: tokens after the first, over the time since the first. None for fewer than two."""
        if self.first is None or self.last is None or self.tokens < 2 or self.last <= self.first:
            return None
        return (self.tokens - 1) / (self.last - self.first)

    @property
    def tokens_per_step(self) -> float:
        """1 where every step chose one token; more where drafts were right."""
        return self.tokens / self.steps if self.steps else 1.0
