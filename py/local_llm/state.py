"""What the runtime is doing now, as data. Changed by runtime.py only; read by everybody."""

from __future__ import annotations

from dataclasses import dataclass, field

from local_llm.reply import Reply


@dataclass
class Statistics:
    """Sums over all generations since the page opened."""

    generations: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last_at: float | None = None

    def add(self, reply: Reply, now: float) -> None:
        """One more generation; now: the host's clock."""
        self.generations += 1
        self.tokens += reply.usage.completion_tokens
        self.seconds += reply.elapsed
        self.last_at = now


@dataclass
class State:
    """phase: "empty", "loading", "ready" or "error"."""

    phase: str = "empty"
    model: str | None = None
    progress: float = 0.0
    progress_text: str = ""
    generating: bool = False
    error: str | None = None
    gpu_bytes: int = 0
    peak_bytes: int = 0  # the most GPU bytes that the last load held
    statistics: Statistics = field(default_factory=Statistics)
