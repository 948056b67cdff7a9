"""Options of a generation as people give them, checked once. Knows no device and no text.

Names follow the OpenAI API where it has one, llama.cpp where it has not. Without options the likeliest token is taken
(temperature 0), at most 512 of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm.errors import InvalidRequest
from local_llm.ops.sampling import SamplingParams

DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class Options:
    """Checked options. seed: u32. stop: strings that end the answer and are not part of it.

    when_full: what happens at the cache's end, "stop" or "slide".
    speculative: whether ids are drafted from what followed before, and several computed in one step: "auto" (where it
    is faster), "off" or "always"; the text is the same.
    """

    max_tokens: int
    sampling: SamplingParams
    seed: int
    stop: tuple[str, ...]
    ignore_eos: bool
    when_full: str = "stop"
    speculative: str = "auto"


_CHOICES = {"when_full": ("stop", "slide"), "speculative": ("auto", "off", "always")}  # the first is what is not said

# name: (least, most, is a whole number)
_RANGES: dict[str, tuple[float, float, bool]] = {
    "max_tokens": (1, 1 << 20, True),
    "temperature": (0.0, 100.0, False),
    "top_k": (0, 1 << 20, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, False),
    "repetition_penalty": (0.01, 100.0, False),
    "presence_penalty": (-100.0, 100.0, False),
    "frequency_penalty": (-100.0, 100.0, False),
    "seed": (0, (1 << 32) - 1, True),
}


def read_options(given: Mapping[str, Any]) -> Options:
    """Check and complete. None means "not given". Raises InvalidRequest that names the option and its range."""
    known = [*_RANGES, "stop", "ignore_eos", *_CHOICES]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InvalidRequest(f"Unknown option '{unknown[0]}'.", remedy=f"Known options: {', '.join(known)}.")
    values: dict[str, Any] = {name: _number(name, given[name]) for name in _RANGES if given.get(name) is not None}
    if not isinstance(given.get("ignore_eos", False), bool | None):
        raise InvalidRequest(f"Option 'ignore_eos' must be true or false, found {given['ignore_eos']!r}.")
    chosen = {name: _choice(name, given.get(name)) for name in _CHOICES}
    if values.get("top_p") == 0:
        values["top_p"] = 1e-6  # the most probable token alone
    names = SamplingParams.__dataclass_fields__
    return Options(
        max_tokens=int(values.get("max_tokens", DEFAULT_MAX_TOKENS)),
        sampling=SamplingParams(**{name: value for name, value in values.items() if name in names}),
        seed=int(values["seed"]) if "seed" in values else secrets.randbits(32),
        stop=_stops(given.get("stop")),
        ignore_eos=bool(given.get("ignore_eos")),
        **chosen,
    )


def _number(name: str, value: Any) -> float | int:
    least, most, whole = _RANGES[name]
    sort = "a whole number" if whole else "a number"
    sound = isinstance(value, int | float) and not isinstance(value, bool)
    if not sound or not least <= value <= most or (whole and value != int(value)):
        raise InvalidRequest(f"Option '{name}' must be {sort} from {least:g} to {most:g}, found {_shown(value)}.")
    return int(value) if whole else float(value)


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if not isinstance(value, int) or abs(value) < 1 << 64 else "a number of many digits"


def _choice(name: str, value: Any) -> str:
    choices = _CHOICES[name]
    if value is not None and value not in choices:
        raise InvalidRequest(f"Option '{name}' must be one of {', '.join(map(repr, choices))}; found {value!r:.60}.")
    return value or choices[0]


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else list(value or ()) if isinstance(value, list | tuple | None) else None
    if stops is None or len(stops) > 16 or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequest(f"Option 'stop' must be up to 16 non-empty strings, found {value!r:.80}.")
    return tuple(stops)
