"""A tokenizer that remembers texts: a conversation comes whole with each turn, and only its end is new.

Knows no vocabulary and no messages.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from local_llm.gpu.ports import Tokenizer

KEPT = 1 << 18  # characters of all texts that are remembered


class RememberingTokenizer:
    """See gpu.ports.Tokenizer; over another one, which gives a text the same ids each time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, array[int]] = {}  # the newest last
        self._room = KEPT

    def encode(self, text: str) -> list[int]:
        known = self._known.pop(text, None)
        if known is None:
            ids = self._tokenizer.encode(text)
            if len(text) > KEPT:
                return ids
            known = array("I", ids)
            self._room -= len(text)
            while self._room < 0:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._room += len(oldest)
        self._known[text] = known
        return known.tolist()

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)
