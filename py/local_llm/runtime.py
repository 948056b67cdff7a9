"""The service: load a model, answer, unload. Knows the ports of its host, but not which host it is.

One model and one generation at a time; later callers wait in order, or get Busy by option.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from local_llm import inspection
from local_llm.answering import Answering, chat_prompt, read_ids, read_texts, text_prompt
from local_llm.errors import Busy, DeviceLost, InvalidRequest, NotReady
from local_llm.events import Callback
from local_llm.generate.engine import Engine
from local_llm.generate.sampler import Options, read_options
from local_llm.gpu.ports import Host
from local_llm.lifecycle import MOST_LOSSES, Lifecycle
from local_llm.loaded import Loaded
from local_llm.mailbox import Mailbox
from local_llm.reply import Chunk, Reply, reply_of, told
from local_llm.sliding import Prompt

Stream = AsyncGenerator[Chunk, None]


class LocalLLM(Lifecycle):
    """A private language model. Create one, `await init(model)`, then `chat` or `complete`."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._accepted = 0  # requests that were begun and have not ended

    # Answering

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, when_busy: str = "wait", **options: Any
    ) -> Reply | Stream:
        """Answer a conversation in OpenAI's form: [{"role": "system" | "user" | "assistant" | "tool", "content"}].

        options: tools and template_options (such as enable_thinking) for the chat template; max_tokens, temperature,
        top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, seed, stop, ignore_eos (go on past
        the model's end token), when_full ("stop", or "slide": let go of the oldest turns, see sliding.Chat),
        speculative ("auto", "off", "always": steps of several drafted tokens, see generate/sampler.py).
        when_busy: "wait" (in order) or "raise" (Busy; for a stream when it is first read).
        Returns a Reply, or with stream=True an async generator of Chunks; closing it stops the GPU work.
        """
        loaded = self._require()
        asked = {"tools": options.pop("tools", None), "options": options.pop("template_options", None)}
        checked = read_options(options)
        return await self._answer(loaded, chat_prompt(loaded, messages, asked, checked), checked, stream, when_busy)

    async def complete(
        self, prompt: str | Sequence[int], *, stream: bool = False, when_busy: str = "wait", **options: Any
    ) -> Reply | Stream:
        """Continue a text, or token ids, without a chat template. Options and results as in chat, without tools."""
        loaded = self._require()
        checked = read_options(options)
        return await self._answer(loaded, text_prompt(loaded, prompt, checked), checked, stream, when_busy)

    async def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """Teacher forcing: float32 [T, V]; row t holds the scores of the token that follows token_ids[t]."""
        ids = read_ids(token_ids, "logits")
        async with self._turn:
            return await self._survive(self._require(), lambda engine: engine.logits(ids))

    async def embed(self, texts: str | Sequence[str], *, pooling: str | None = None) -> np.ndarray:
        """float32 [N, D]: a vector of length 1 for each text.

        pooling: which of a text's states make its vector: "mean", "cls" (the first token's), "last", or None for what
        the model's file says (encoders that say nothing: mean; decoders: last). Any loaded model can embed.
        """
        loaded = self._require()
        ids = [loaded.dialogue.embedding_ids(text) for text in read_texts(texts)]
        async with self._turn:
            return await self._survive(self._still(loaded), lambda engine: engine.embed(ids, pooling))

    async def with_engine(self, work: Callable[[Engine], Awaitable[Any]]) -> Any:
        """What `work` finds out about the engine, between two generations."""
        async with self._turn:
            return await work(self._require().engine)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as `complete` would see it."""
        return list(self._require().dialogue.completion_ids(text))

    async def _answer(
        self, loaded: Loaded, prompt: Prompt, options: Options, stream: bool, when_busy: str
    ) -> Reply | Stream:
        if when_busy not in ("wait", "raise"):
            raise InvalidRequest(f"when_busy must be 'wait' or 'raise', found {when_busy!r}.")
        self._admit(when_busy)
        chunks = self._stream(loaded, prompt, options, when_busy)
        if stream:
            return chunks
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.reply is not None:
                    return chunk.reply
        raise AssertionError("a stream ends with a reply")

    def _admit(self, when_busy: str) -> None:
        if when_busy == "raise" and (self._accepted or self._turn.locked()):
            raise Busy("A generation is running, or waits for its turn.")

    async def _stream(self, loaded: Loaded, prompt: Prompt, options: Options, when_busy: str) -> Stream:
        """Chunks from a task of their own, so that a reader who stops reading blocks nobody."""
        self._admit(when_busy)  # again: a stream begins when it is first read
        self._accepted += 1
        mailbox: Mailbox[Chunk | BaseException] = Mailbox()
        task = asyncio.ensure_future(self._generate(loaded, prompt, options, mailbox.put))
        try:
            while True:
                item = await mailbox.take()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if item.done:
                    return
        finally:
            self._accepted -= 1
            if not task.done():
                if self._generation is task:
                    self.interrupt()
                    await asyncio.wait([task])
                else:
                    task.cancel()

    async def _generate(
        self, loaded: Loaded, prompt: Prompt, options: Options, put: Callable[[Chunk | BaseException], None]
    ) -> None:
        try:
            async with self._turn:
                loaded = self._still(loaded)
                self._generation = asyncio.current_task()
                self.state.generating, self._interrupted = True, False
                loaded.engine.begin()
                try:
                    await self._run(loaded, prompt, options, put)
                finally:
                    self.state.generating = False
                    self._generation = None
        except Exception as error:
            if self.state.error != inspection.message(error):  # what ended the service was told there
                self._tell(error)
            put(error)

    async def _run(self, loaded: Loaded, prompt: Prompt, options: Options, put: Callable[[Chunk], None]) -> None:
        asked = len(prompt.ids)
        reader = loaded.dialogue.reader(options.stop, prompt.ids)
        stop_ids = frozenset() if options.ignore_eos else loaded.dialogue.stop_ids
        self._events.emit("generation-start", prompt_tokens=asked)

        def fresh(delta: str) -> None:
            put(Chunk(delta, reader.text, answer.count))
            self._events.emit("token", delta=delta, token_count=answer.count)

        answer = Answering(prompt, options, stop_ids, reader, self._host.clock, fresh)
        await self._survive(loaded, answer.work, lambda: answer.count)
        rest = reader.finish()
        reply = reply_of(loaded.name, asked, answer.outcome, reader.text)
        self.state.statistics.add(reply, self._host.clock())
        self.state.generating = False  # whoever hears of the end finds the status in step with it
        if rest:
            self._events.emit("token", delta=rest, token_count=answer.count)
        self._events.emit("generation-end", **told(reply))
        put(Chunk(rest, reader.text, answer.count, True, reply))

    async def _survive(
        self, loaded: Loaded, work: Callable[[Engine], Awaitable[Any]], progress: Callable[[], int] = lambda: 0
    ) -> Any:
        """What `work` returns; where the device is lost meanwhile, the model is loaded anew and the work done again.

        Raises DeviceLost where that happens MOST_LOSSES times while `progress` stands still.
        """
        losses, reached = 0, progress()
        while True:
            try:
                return await work(loaded.engine)
            except DeviceLost as error:
                losses, reached = losses + 1 if progress() == reached else 1, progress()
                if losses > MOST_LOSSES:
                    self._failed(error)
                    raise
                loaded = await self._back(loaded)

    # Looking

    def _require(self) -> Loaded:
        if self._loaded is None:
            raise NotReady("No model is loaded.")
        return self._loaded

    def _still(self, loaded: Loaded) -> Loaded:
        """The model that a request was made for, by now perhaps on a new device."""
        held = self._loaded
        if held is None or held.lineage is not loaded.lineage or held.lineage is self._leaving:
            raise NotReady("The model was unloaded while this request waited.")
        return held

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Hear events (local_llm.events.NAMES); returns the function that ends it."""
        return self._events.on(event, callback)

    def status(self) -> dict[str, Any]:
        """What the runtime is doing now, JSON-able."""
        return inspection.status(self.state, self._loaded.memory.nbytes if self._loaded else 0)

    async def runtime_info(self) -> dict[str, Any]:
        """The adapter, its features and limits, and what the model holds, JSON-able. Opens the device if need be."""
        caps = (await self._open_device()).caps
        held = self._loaded
        if held is None:
            return inspection.runtime_info(caps, None, None, 0)
        return inspection.runtime_info(caps, held.memory, held.model.context, held.file_bytes) | held.kernels()
