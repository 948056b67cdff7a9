"""Drawing at a pace: at most once in so many seconds, and always what came last. Knows nothing of what is drawn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Paced:
    """Call it after each change: it draws at once or, soon after the last drawing, once `seconds` have passed since.

    seconds: from the end of one drawing to the next, so that slow drawings leave time for everything else.
    """

    def __init__(self, draw: Callable[[], None], seconds: float) -> None:
        self._draw = draw
        self._seconds = seconds
        self._drawn = float("-inf")
        self._later: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if self._later is None:
            left = self._drawn + self._seconds - time.perf_counter()
            if left > 0:
                self._later = asyncio.get_running_loop().call_later(left, self._now)
            else:
                self._now()

    def cancel(self) -> None:
        """Draw nothing that was put off."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _now(self) -> None:
        self.cancel()
        self._draw()
        self._drawn = time.perf_counter()
