"""Events of the runtime: names and a small emitter. Knows no page; `browser/` turns them into CustomEvents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

Callback = Callable[[Mapping[str, Any]], None]

NAMES = (
    "loading",  # {model}; recovering: True after a lost device
    "progress",  # {progress 0..1, text, loaded_bytes, total_bytes, bytes_per_second, seconds_left}
    "ready",  # {model}; recovering as above
    "kernels-replaced",  # {kernels, left}: this adapter gets them wrong; kernels: plain ones run in their place,
    #                       left: there is none
    "error",  # {name, message, remedy}
    "unloaded",  # {model}
    "generation-start",  # {prompt_tokens}
    "token",  # {delta, token_count}
    "generation-end",  # {finish_reason, prompt_tokens, cached_tokens, completion_tokens, elapsed,
    #                     time_to_first_token, tokens_per_second, tokens_per_step}; seconds, None where nothing came
    "storage-changed",  # {models, kept_bytes}
    "memory-warning",  # {gpu_bytes, limit_bytes, share, limit_source, message, remedy}
)


_log = logging.getLogger(__name__)


class Events:
    """Callbacks per event name. Details are JSON-able dicts."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in NAMES}

    def on(self, name: str, callback: Callback) -> Callable[[], None]:
        """Register; returns the function that takes the callback off again. Raises KeyError for unknown names."""
        self._callbacks[name].append(callback)

        def off() -> None:
            if callback in self._callbacks[name]:
                self._callbacks[name].remove(callback)

        return off

    def emit(self, name: str, /, **detail: Any) -> None:
        for callback in tuple(self._callbacks[name]):
            try:
                callback(detail)
            except Exception:  # a listener's fault must not end the load or the answer that told it
                _log.exception("A listener of '%s' failed", name)
