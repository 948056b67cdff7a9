"""Counters and percentiles of loads and generations, and the warning before GPU memory runs out.

WebGPU cannot be asked how much memory a GPU has. So a limit is known only where the page set a budget or where the GPU
has refused an allocation; a warning says which of the two it rests on. Knows no GPU, no page and no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 256  # samples per measure; older ones no longer count
PLOTTED = 32
NEAR = 0.9  # share of a limit from which a warning is due

MEASURES = (
    "load_seconds",
    "first_token_seconds",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "generation_seconds",
)
BUDGET = "the budget that this page set"
REFUSAL = "the GPU, which refused more than this earlier"
UNKNOWN = "unknown: WebGPU does not say how much memory a GPU has"


@dataclass(frozen=True)
class Summary:
    """Of one measure. count: of all time; the rest over the last KEPT samples, None where there are none."""

    count: int
    last: float | None
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True)
class Limit:
    """GPU bytes that should not be exceeded. source: a phrase for people."""

    nbytes: int
    source: str


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted samples, linear between neighbours. share: 0 to 1. Raises ValueError for no samples."""
    if not ordered:
        raise ValueError("a percentile of no samples")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class PerformanceMonitor:
    """What loads and generations cost since the page opened."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in MEASURES}
        self._counts: dict[str, int] = dict.fromkeys(MEASURES, 0)
        self._counters: dict[str, int] = {}
        self._budget: int | None = None
        self._refused: int | None = None

    def add(self, measure: str, value: float | None) -> None:
        """One sample of one of MEASURES; None is not counted."""
        if value is not None:
            self._samples[measure].append(value)
            self._counts[measure] += 1

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter ("loads", "failed_loads", "generations", "prompt_tokens", …)."""
        self._counters[counter] = self._counters.get(counter, 0) + by

    def summary(self, measure: str) -> Summary:
        samples = self._samples[measure]
        if not samples:
            return Summary(0, None, None, None, None, None)
        ordered = sorted(samples)
        shares = [percentile(ordered, share) for share in (0.5, 0.9, 0.99)]
        return Summary(self._counts[measure], samples[-1], sum(ordered) / len(ordered), *shares)

    def report(self) -> dict[str, Any]:
        """Everything, JSON-able: counters, a summary per measure, the memory limit."""
        limit = self.limit
        return {
            "counters": dict(self._counters),
            **{name: asdict(self.summary(name)) for name in MEASURES},
            "gpu_limit": {"bytes": limit.nbytes, "source": limit.source} if limit else None,
        }

    def speeds(self) -> list[float]:
        """Decode speeds of the last generations, tokens a second, oldest first."""
        return list(self._samples["decode_tokens_per_second"])[-PLOTTED:]

    # Memory

    def set_budget(self, nbytes: int | None) -> None:
        """The most GPU bytes that the page wants to see used; None: no budget."""
        self._budget = nbytes

    def refused(self, nbytes: int) -> None:
        """The GPU refused an allocation that would have made it nbytes in all."""
        if nbytes > 0:
            self._refused = nbytes if self._refused is None else min(nbytes, self._refused)

    @property
    def limit(self) -> Limit | None:
        """The tightest limit that is known; None where none is."""
        known = [Limit(self._budget, BUDGET)] if self._budget else []
        known += [Limit(self._refused, REFUSAL)] if self._refused else []
        return min(known, key=lambda limit: limit.nbytes, default=None)

    def warning(self, held: int) -> dict[str, Any] | None:
        """The detail of a memory-warning for `held` GPU bytes, JSON-able; None where no known limit is near."""
        limit = self.limit
        if limit is None or held < NEAR * limit.nbytes:
            return None
        return {
            "gpu_bytes": held,
            "limit_bytes": limit.nbytes,
            "share": held / limit.nbytes,
            "limit_source": limit.source,
            "message": f"{held} bytes of GPU memory are in use; the limit is {limit.nbytes} bytes, known from "
            f"{limit.source}.",
            "remedy": "Unload the model when it is not needed, or load it with a smaller context_size.",
        }
