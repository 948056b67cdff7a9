"""One answer on its way: over losses of the device and ends of the cache. Knows no service and no events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from operator import index
from typing import Any

from local_llm.errors import InvalidRequest
from local_llm.generate.engine import Engine, Outcome, Request
from local_llm.generate.sampler import Options
from local_llm.generate.stats import Timing
from local_llm.loaded import Loaded
from local_llm.sliding import Chat, Fixed, Prompt, Text
from local_llm.text.dialogue import Reader

_STRIDE = 0x9E3779B9  # between the seeds of one answer: positions come again after a slide, draws shall not


def chat_prompt(loaded: Loaded, messages: Any, asked: Mapping[str, Any], options: Options) -> Prompt:
    """A conversation's prompt. asked: tools and options of the template. Raises InvalidRequest, UnsupportedModel."""
    dialogue = loaded.dialogue
    if options.when_full == "stop":
        return Fixed(dialogue.chat_ids(messages, **asked))
    context, before = loaded.model.context, loaded.dropped
    prompt = Chat(messages, lambda part: dialogue.chat_ids(part, **asked), context, options.max_tokens, before)
    loaded.dropped[:] = prompt.dropped
    return prompt


def text_prompt(loaded: Loaded, prompt: str | Sequence[int], options: Options) -> Prompt:
    """The prompt of a text or of ids. Raises InvalidRequest."""
    ids = loaded.dialogue.completion_ids(prompt) if isinstance(prompt, str) else read_ids(prompt, "complete")
    if options.when_full == "stop":
        return Fixed(ids)
    bos = loaded.dialogue.codec.vocabulary.bos
    return Text(ids, loaded.model.context, int(bos is not None and ids[:1] == [bos]))


def read_ids(given: Any, what: str) -> list[int]:
    """Token ids as people give them. Raises InvalidRequest."""
    try:
        if isinstance(given, str | bytes | Mapping):
            raise TypeError
        return [index(token) for token in given]
    except TypeError:
        raise InvalidRequest(f"{what} wants token ids as whole numbers, found {given!r:.60}.") from None


def read_texts(given: Any) -> list[str]:
    """One text, or what holds some. Raises InvalidRequest."""
    single = isinstance(given, str | Mapping) or not isinstance(given, Iterable)
    texts: list[Any] = [given] if single else [*given]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(f"embed wants a text or a list of texts, found {given!r:.60}.")
    return texts


class Answering:
    """What was answered so far, and how it goes on. fresh(delta) is told of new text."""

    def __init__(
        self,
        prompt: Prompt,
        options: Options,
        stop_ids: frozenset[int],
        reader: Reader,
        clock: Callable[[], float],
        fresh: Callable[[str], None],
    ) -> None:
        self.outcome = Outcome(Timing(clock))
        self.reader = reader
        self._prompt = prompt
        self._fresh = fresh
        asked = (options.max_tokens, stop_ids, options.sampling, options.seed)
        self._request = Request((), *asked, speculative=options.speculative)
        self._first = 0  # of the answer's ids that the cache still has

    @property
    def count(self) -> int:
        """Ids answered so far."""
        return len(self.outcome.token_ids)

    async def work(self, engine: Engine) -> None:
        """Go on from what was answered so far, to the end. Raises DeviceLost, after which it can be called again."""
        while True:
            self.outcome.finish_reason = ""
            await self._go_on(engine)
            kept = self._prompt.slide(self.count - self._first) if self.outcome.finish_reason == "context" else None
            if kept is None:
                return
            self._first = self.count - kept
            self._request = replace(self._request, seed=(self._request.seed + _STRIDE) & 0xFFFFFFFF)

    async def _go_on(self, engine: Engine) -> None:
        """Until the engine ends: by a stop, by length, or because the cache is full."""
        outcome, answer = self.outcome, self.outcome.token_ids[self._first :]
        part = Outcome(outcome.timing, token_ids=list(answer))
        request = replace(
            self._request,
            prompt=(*self._prompt.ids, *answer),
            answered=len(answer),
            max_tokens=self._request.max_tokens - self._first,
        )
        async with aclosing(engine.generate(request, part)) as steps:
            async for fresh in steps:
                taken, delta = self.reader.take(fresh)
                outcome.token_ids += taken
                self._note_cached(part)
                if delta:
                    self._fresh(delta)
                if self.reader.stopped:
                    outcome.finish_reason = "stop"
                    break
        self._note_cached(part)
        outcome.finish_reason = outcome.finish_reason or part.finish_reason

    def _note_cached(self, part: Outcome) -> None:
        if self._first == 0:
            self.outcome.cached_tokens = max(self.outcome.cached_tokens, part.cached_tokens)
