"""The demo page: load a model, chat, stop. Knows the runtime and a View; knows no DOM."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from local_llm.errors import LocalLLMError
from local_llm.page.view import Message, View
from local_llm.reply import Reply
from local_llm.runtime import LocalLLM

_ENDINGS = {"length": "cut at the token limit", "context": "the context is full", "interrupted": "stopped"}


class ChatPage:
    """One conversation with one model. Nothing is downloaded before the first message, the Load button or a file.

    What the page shows follows the runtime's events, whoever caused them.
    """

    def __init__(self, runtime: LocalLLM, view: View, default_model: str | None) -> None:
        self._runtime = runtime
        self._view = view
        self._source: Any = default_model
        self._messages: list[dict[str, str]] = []
        self._answering = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Tie the controls and the events."""
        view, runtime = self._view, self._runtime
        view.on("form", "submit", lambda: self._begin(self.send(view.take_prompt())))
        view.on("stop", "click", runtime.interrupt)
        view.on("new", "click", self.clear)
        view.on("load", "click", lambda: self._begin(self.load()))
        view.on("file", "change", self._picked)
        runtime.on("loading", self._loading)
        runtime.on("progress", self._progress)
        runtime.on("ready", lambda _: self._begin(self._ready()))
        runtime.on("unloaded", lambda _: self._idle())
        runtime.on("error", self._failed)
        view.set_text("model", _name(self._source))
        self._idle()

    async def load(self) -> bool:
        """Load the chosen model; False where it failed, which the page then shows."""
        try:
            await self._runtime.init(self._source)
        except LocalLLMError:
            return False
        return True

    async def send(self, prompt: str) -> None:
        """Answer one message, after loading the model if need be; the text grows as it is generated."""
        if not prompt.strip() or self._answering:
            return
        self._answering = True
        self._settle()
        try:
            await self._answer(prompt)
        finally:
            self._answering = False
            self._settle()

    async def _answer(self, prompt: str) -> None:
        messages = self._messages  # clear() may begin another list meanwhile
        self._view.add_message("user").set_text(prompt)
        answer = self._view.add_message("assistant")
        if not self._runtime.status()["is_ready"] and not await self.load():
            answer.set_note("No model is loaded: see the message above.")
            return
        messages.append({"role": "user", "content": prompt})
        self._settle()
        try:
            text = await self._stream(messages, answer)
            messages.append({"role": "assistant", "content": text})
        except LocalLLMError as error:
            messages.pop()
            answer.set_note(str(error))

    async def _stream(self, messages: list[dict[str, str]], answer: Message) -> str:
        text = ""
        async for chunk in await self._runtime.chat(messages, stream=True):  # pyright: ignore[reportGeneralTypeIssues]
            text = chunk.text
            answer.set_text(text)
            answer.set_note(_summary(chunk.reply) if chunk.reply else f"{chunk.token_count} tokens")
        return text

    def clear(self) -> None:
        """Stop what runs and begin a new conversation."""
        self._runtime.interrupt()
        self._messages = []
        self._view.clear_messages()

    def _picked(self) -> None:
        file = self._view.picked_file()
        if file is not None:
            self._source = file
            self._begin(self.load())

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the event loop alone would let it be collected
        task.add_done_callback(self._tasks.discard)

    def _idle(self) -> None:
        self._view.set_phase("idle")
        self._view.set_text("adapter", "")
        self._view.set_text("status", "Not loaded yet: it loads with your first message and stays on this device.")
        self._view.enable("send", True)

    def _loading(self, detail: Mapping[str, Any]) -> None:
        self._view.set_phase("loading")
        self._view.set_text("model", _name(detail["model"]))
        self._view.set_progress(0.0)
        self._view.enable("send", False)

    def _progress(self, detail: Mapping[str, Any]) -> None:
        if not self._runtime.status()["is_loading"]:
            return
        self._view.set_progress(detail["progress"])
        total, rate = detail["total_bytes"], detail["bytes_per_second"]
        size = f" · {detail['loaded_bytes'] / 1e6:.0f} of {total / 1e6:.0f} MB" if total else ""
        speed = f" · {rate / 1e6:.0f} MB/s" if total and rate else ""
        self._view.set_text("status", f"{detail['text']}{size}{speed}")

    async def _ready(self) -> None:
        info = await self._runtime.runtime_info()
        software = " (software adapter: the CPU computes)" if info["software_adapter"] else ""
        self._view.set_text("adapter", f"{info['adapter']}{software}")
        self._view.set_text("model", str(self._runtime.status()["model"]))
        self._view.set_text("status", "Ready. What you type stays on this device.")
        self._settle()

    def _settle(self) -> None:
        """Show what the controls allow now; an error stays on show."""
        self._view.enable("send", not self._answering)
        self._view.enable("stop", self._answering)
        if self._runtime.status()["is_ready"]:
            self._view.set_phase("generating" if self._answering else "ready")

    def _failed(self, detail: Mapping[str, Any]) -> None:
        self._view.set_phase("error")
        self._view.set_text("status", f"{detail['message']} {detail['remedy']}".strip())
        self._view.enable("send", True)


def _name(source: object) -> str:
    if source is None:
        return "Default model"
    return source.rsplit("/", 1)[-1] if isinstance(source, str) else str(getattr(source, "name", "model"))


def _summary(reply: Reply) -> str:
    speed = f"{reply.tokens_per_second:.1f} tokens a second" if reply.tokens_per_second else ""
    facts = (f"{reply.usage.completion_tokens} tokens", speed, _ENDINGS.get(reply.finish_reason, ""))
    return " · ".join(fact for fact in facts if fact)
