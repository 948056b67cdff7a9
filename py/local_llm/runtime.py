"""The service: load a model, answer, unload. Knows the ports of its host, but not which host it is.

One model and one generation at a time; later callers wait in order, or get Busy by option.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import Any, Unpack

import numpy as np

from local_llm import inspection
from local_llm.answering import Answering, chat_prompt, text_prompt
from local_llm.errors import Busy, DeviceLost, InvalidRequest, LocalLLMError, NotReady
from local_llm.events import Callback, Events
from local_llm.formats.opening import open_checkpoint
from local_llm.generate.engine import Engine
from local_llm.generate.sampler import Options, read_options
from local_llm.generate.stats import steady
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Device, Host
from local_llm.gpu.reopening import reopen
from local_llm.loaded import Loaded, Loading, Origin, build
from local_llm.mailbox import Mailbox
from local_llm.reply import Chunk, Reply, reply_of, told
from local_llm.sliding import Prompt
from local_llm.state import State

MOST_LOSSES = 3  # of the device, one after the other, until a request gives up

Stream = AsyncGenerator[Chunk, None]


class LocalLLM:
    """A private language model. Create one, `await init(model)`, then `chat` or `complete`."""

    def __init__(self, host: Host) -> None:
        self._host = replace(host, clock=steady(host.clock))
        self._device: Device | None = None
        self._had_device = False
        self._loaded: Loaded | None = None
        self._leaving: object = None  # lineage of the model that is being unloaded
        self._interrupted = False
        self._loading: asyncio.Task[None] | None = None
        self._loading_origin = Origin(None)
        self._generation: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._events = Events()
        self.state = State()

    # Loading

    async def init(self, model: Any, **options: Unpack[Loading]) -> None:
        """Load a model: a URL, a path, a file object of the host, GGUF bytes, a list of a model's files, or a folder.

        GGUF (also split), safetensors and MLC: see formats.opening. options: see loaded.Loading. A second call for the
        same model during loading joins the first. Raises any LocalLLMError, NotReady where unload() stopped the load;
        after an error no GPU bytes are held and the next init works.
        """
        origin = Origin(model, **options)
        if self._loading is None:
            self._loading_origin = origin
            self._loading = asyncio.ensure_future(self._load(origin))
            self._loading.add_done_callback(self._load_ended)
        elif self._loading_origin != origin:
            raise Busy(f"Another model is being loaded; '{model}' was asked for.", remedy="Await that load first.")
        loading = self._loading
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            if not loading.cancelled():
                raise
            raise NotReady(f"The load of '{model}' was stopped.", remedy="Call init() again.") from None

    def _load_ended(self, loading: asyncio.Task[None]) -> None:
        self._loading = None

    async def _load(self, origin: Origin) -> None:
        self.state.phase, self.state.progress, self.state.error = "loading", 0.0, None
        self.state.progress_text = "Opening"
        name = origin.source if isinstance(origin.source, str) else getattr(origin.source, "name", "model")
        self._events.emit("loading", model=name)
        try:
            await self._free()
            self.state.phase, self.state.progress = "loading", 0.0  # a model that came back meanwhile was "ready"
            self._loaded = await self._open(origin)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._left(name)
            else:
                self._failed(error)
            raise
        self._arrived(self._loaded)

    async def _open(self, origin: Origin) -> Loaded:
        """A model on the device, or on a new one where that turns out to be lost. Raises any LocalLLMError."""
        for losses in count(1):
            memory = Memory(await self._open_device(), self._gpu_limit())
            try:
                self._say(0.0, "Reading the header")
                opened = await open_checkpoint(origin.source, self._host.open_blobs, origin.quantize)
                return await build(self._host, opened, memory, origin, self._say)
            except BaseException as error:
                self.state.peak_bytes = memory.peak
                memory.close()
                if not isinstance(error, DeviceLost) or losses > MOST_LOSSES:
                    raise
                self._device = None
        raise AssertionError("counting does not end")

    def _arrived(self, loaded: Loaded, **more: bool) -> None:
        self.state.phase, self.state.model, self.state.error = "ready", loaded.name, None
        self._say(1.0, "Ready")
        self.state.gpu_bytes = loaded.memory.nbytes
        self._events.emit("ready", model=loaded.name, **more)
        if loaded.replaced or loaded.wrong:
            self._events.emit("kernels-replaced", kernels=list(loaded.replaced), left=list(loaded.wrong))

    def _gpu_limit(self) -> int | None:
        """GPU bytes that should not be exceeded, where that is known."""
        return None

    async def _open_device(self) -> Device:
        if self._device is None:
            again = self._had_device  # the first time nobody waits for an adapter that this machine has not
            self._device = await (reopen(self._host.open_device) if again else self._host.open_device())
            self._had_device = True
        return self._device

    def _say(self, progress: float, text: str, done: int = 0, total: int = 0, rate: float = 0.0) -> None:
        self.state.progress = max(self.state.progress, progress)
        self.state.progress_text = text
        self._events.emit(
            "progress",
            progress=self.state.progress,
            text=text,
            loaded_bytes=done,
            total_bytes=total,
            bytes_per_second=rate,
            seconds_left=(total - done) / rate if rate else None,
        )

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, DeviceLost):
            self._device = None
            if self._loaded is not None:
                self._loaded.memory.close()
                self._loaded = None
        self.state.phase, self.state.error, self.state.model = "error", inspection.message(error), None
        self.state.gpu_bytes = 0
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        remedy = error.remedy if isinstance(error, LocalLLMError) else ""
        self._events.emit("error", name=type(error).__name__, message=inspection.message(error), remedy=remedy)

    async def unload(self) -> None:
        """Stop a running load or generation and free all GPU memory. Without a model, does nothing."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        await self._free()

    async def _free(self) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        self._leaving = loaded.lineage  # requests that wait for a turn give up
        self.interrupt()
        async with self._turn:
            if self._loaded is None or self._loaded.lineage is not loaded.lineage:
                return
            loaded, self._loaded, self._leaving = self._loaded, None, None
            try:
                await loaded.close()
            finally:
                self._left(loaded.name, "loading" if self._loading is not None else "empty")

    def _left(self, name: str, phase: str = "empty") -> None:
        self.state.phase, self.state.progress = phase, 0.0
        self.state.model, self.state.gpu_bytes = None, 0
        self._events.emit("unloaded", model=name)

    async def switch_model(self, model: Any, **options: Unpack[Loading]) -> None:
        """Free the present model, then load another. Options and errors as init."""
        await self.init(model, **options)

    async def close(self) -> None:
        """Unload and give the device back."""
        await self.unload()
        if self._device is not None:
            self._device.close()
            self._device = None

    # Answering

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, when_busy: str = "wait", **options: Any
    ) -> Reply | Stream:
        """Answer a conversation in OpenAI's form: [{"role": "system" | "user" | "assistant" | "tool", "content"}].

        options: tools and template_options (such as enable_thinking) for the chat template; max_tokens, temperature,
        top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, seed, stop, ignore_eos (go on past
        the model's end token), when_full ("stop", or "slide": let go of the oldest turns, see sliding.Chat),
        speculative ("auto", "off", "always": steps of several drafted tokens, see generate/sampler.py).
        when_busy: "wait" (in order) or "raise" (Busy).
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
        ids = [int(token) for token in token_ids]
        async with self._turn:
            return await self._survive(self._require(), lambda engine: engine.logits(ids))

    async def embed(self, texts: str | Sequence[str], *, pooling: str | None = None) -> np.ndarray:
        """float32 [N, D]: a vector of length 1 for each text.

        pooling: which of a text's states make its vector: "mean", "cls" (the first token's), "last", or None for what
        the model's file says (encoders that say nothing: mean; decoders: last). Any loaded model can embed.
        """
        loaded = self._require()
        wanted = [texts] if isinstance(texts, str) else list(texts)
        ids = [loaded.dialogue.embedding_ids(text) for text in wanted]
        async with self._turn:
            return await self._survive(self._still(loaded), lambda engine: engine.embed(ids, pooling))

    async def with_engine(self, work: Callable[[Engine], Awaitable[Any]]) -> Any:
        """What `work` finds out about the engine, between two generations."""
        async with self._turn:
            return await work(self._require().engine)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as `complete` would see it."""
        return list(self._require().dialogue.completion_ids(text))

    def interrupt(self) -> None:
        """Stop the running generation; what was generated stays. Without one, does nothing."""
        self._interrupted = True  # what is being recovered ends as well
        if self._loaded is not None:
            self._loaded.engine.interrupt()

    async def _answer(
        self, loaded: Loaded, prompt: Prompt, options: Options, stream: bool, when_busy: str
    ) -> Reply | Stream:
        if when_busy not in ("wait", "raise"):
            raise InvalidRequest(f"when_busy must be 'wait' or 'raise', found {when_busy!r}.")
        if when_busy == "raise" and self._turn.locked():
            raise Busy("A generation is running.")
        chunks = self._stream(loaded, prompt, options)
        if stream:
            return chunks
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.reply is not None:
                    return chunk.reply
        raise AssertionError("a stream ends with a reply")

    async def _stream(self, loaded: Loaded, prompt: Prompt, options: Options) -> Stream:
        """Chunks from a task of their own, so that a reader who stops reading blocks nobody."""
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
                loaded = await self._revive(loaded)

    async def _revive(self, lost: Loaded) -> Loaded:
        """The same model on a new device."""
        self._device = None
        await lost.close()
        self.state.phase, self.state.progress, self.state.gpu_bytes = "loading", 0.0, 0
        self._events.emit("loading", model=lost.name, recovering=True)
        try:
            self._loaded = replace(await self._open(lost.origin), lineage=lost.lineage)
        except BaseException as error:
            self._loaded = None
            self._failed(error)
            raise
        if self._interrupted:
            self._loaded.engine.interrupt()
        self._arrived(self._loaded, recovering=True)
        return self._loaded

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
