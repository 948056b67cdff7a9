"""What a generation returns: chunks while it streams, one reply at the end. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from local_llm.generate.engine import Outcome


@dataclass(frozen=True)
class Usage:
    """Tokens. cached: of the prompt, found in the key-value cache and not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int = field(init=False)  # a field, so that it crosses to JavaScript with the others

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_tokens", self.prompt_tokens + self.completion_tokens)


@dataclass(frozen=True)
class Reply:
    """A whole answer. Times in seconds; tokens_per_second is decode speed, None for fewer than two tokens.

    tokens_per_step: 1, or more where drafts of several tokens were right (option speculative).

    finish_reason: "stop" (end token or stop string), "length" (max_tokens), "context" (cache full), "interrupted".
    """

    text: str
    token_ids: tuple[int, ...]
    usage: Usage
    finish_reason: str
    model: str
    elapsed: float
    time_to_first_token: float | None
    tokens_per_second: float | None
    tokens_per_step: float = 1.0


def reply_of(model: str, prompt_tokens: int, outcome: Outcome, text: str) -> Reply:
    """The reply that a generation has earned."""
    timing = outcome.timing
    return Reply(
        text=text,
        token_ids=tuple(outcome.token_ids),
        usage=Usage(prompt_tokens, len(outcome.token_ids), outcome.cached_tokens),
        finish_reason=outcome.finish_reason,
        model=model,
        elapsed=timing.elapsed,
        time_to_first_token=timing.time_to_first_token,
        tokens_per_second=timing.tokens_per_second,
        tokens_per_step=timing.tokens_per_step,
    )


def told(reply: Reply) -> dict[str, Any]:
    """What the event generation-end tells of a reply."""
    return {
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.usage.prompt_tokens,
        "cached_tokens": reply.usage.cached_tokens,
        "completion_tokens": reply.usage.completion_tokens,
        "elapsed": reply.elapsed,
        "time_to_first_token": reply.time_to_first_token,
        "tokens_per_second": reply.tokens_per_second,
        "tokens_per_step": reply.tokens_per_step,
    }


@dataclass(frozen=True)
class Chunk:
    """A piece of a streaming answer. text: all so far. The last one has done = True and the reply."""

    delta: str
    text: str
    token_count: int
    done: bool = False
    reply: Reply | None = None
