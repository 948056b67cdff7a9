"""What a generation returns: chunks while it streams, one reply at the end. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Chunk:
    """A piece of a streaming answer. text: all so far. The last one has done = True and the reply."""

    delta: str
    text: str
    token_count: int
    done: bool = False
    reply: Reply | None = None
