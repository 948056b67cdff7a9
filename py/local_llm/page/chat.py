"""The demo page: chat with the service's model, stop, ask again, edit, keep, export. Knows a View; knows no DOM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from local_llm.errors import LocalLLMError
from local_llm.gpu.ports import Store
from local_llm.page import conversation, export
from local_llm.page.asking import Asking, started
from local_llm.page.conversation import Conversation
from local_llm.page.log import Log
from local_llm.page.pacing import Paced
from local_llm.page.picker import Picker
from local_llm.page.sampling import FIELDS, read_fields, show_fields
from local_llm.page.toasts import Toasts
from local_llm.page.view import View
from local_llm.reply import Reply
from local_llm.service import Service

KEY = "conversation"
RENDER_SECONDS = 0.1  # between two looks of a growing answer
_ENDINGS = {"length": "cut at the token limit", "context": "the context is full", "interrupted": "stopped"}


class ChatPage:
    """One conversation, kept in the store. What the page shows follows the service's events, whoever caused them."""

    def __init__(self, service: Service, view: View, store: Store, default_model: str | None) -> None:
        self._service = service
        self._view = view
        self._store = store
        self._talk = Conversation()
        self._log = Log()
        self._asking: Asking | None = None  # the answer that is awaited
        self._toasts = Toasts(view.show_toasts)
        self._picker = Picker(service, view, self._begin, self._toasts.error, default_model)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeping = asyncio.Lock()

    def start(self) -> None:
        """Tie the controls and the events, and bring back what was kept."""
        view, service = self._view, self._service
        view.on("form", "submit", self._submitted)
        view.on("stop", "click", self.stop)
        view.on("new", "click", self.clear)
        view.on("system", "change", self._system_changed)
        view.on("export-json", "click", lambda: self._export("json"))
        view.on("export-markdown", "click", lambda: self._export("md"))
        for name in FIELDS:
            view.on(name, "change", lambda: self._begin(self._keep_options()))
        view.on_action(self._act)
        self._picker.start()
        for name in ("loading", "unloaded"):
            service.on(name, lambda _: self._settle())
        service.on("generation-start", started)
        service.on("ready", self._ready)
        service.on("error", self._failed)
        service.on("memory-warning", lambda detail: self._toasts.add("warning", detail["message"], detail["remedy"]))
        self._settle()
        self._show()
        self._begin(self._restore())

    async def _restore(self) -> None:
        kept = Conversation()
        try:
            kept = conversation.read(await self._store.get(KEY))
        except Exception as error:  # a host's store may fail in ways we cannot list
            self._toasts.add("warning", f"The conversation could not be restored: {error}", "A new one begins.")
        options = await self._service.get_options()
        for name, text in show_fields(options).items():
            self._view.set_value(name, text)
        if not self._talk.messages and self._asking is None:
            self._talk = kept
            self._view.set_value("system", kept.system)
            self._show(to_end=True)

    # Asking

    def _submitted(self) -> None:
        prompt = self._view.value("prompt")
        if prompt.strip() and self._asking is None and not self._service.status()["is_loading"]:
            self._view.set_value("prompt", "")
            self._view.focus("prompt")
            self._begin(self.send(prompt))

    async def send(self, prompt: str) -> None:
        """Answer one message, after loading the model if need be; the text grows as it is generated."""
        self._talk = self._talk.said("user", prompt)
        await self._answer()

    async def _answer(self, before: Conversation | None = None) -> None:
        """Answer the last message. Where nothing comes, it goes back to where it was typed, or all is as `before`."""
        asking = self._asking = Asking(before)
        self._settle()
        self._show(to_end=True)
        try:
            loaded = self._service.status()["is_ready"] or await self._picker.load()
            if loaded and asking is self._asking:
                self._settle()
                await asking.read(lambda: self._read(asking))
        except LocalLLMError as error:
            self._toasts.error(error)
        finally:
            self._give_back(asking)

    async def _read(self, asking: Asking) -> None:
        """Show the answer as it grows, and keep it at its end."""
        live, begun, show = asking.live, 0.0, Paced(self._show, RENDER_SECONDS)
        try:
            async with aclosing(await self._service.chat(self._talk.request(), stream=True)) as chunks:
                async for chunk in chunks:
                    asking.generating = True
                    now = time.perf_counter()
                    begun = begun or now
                    if chunk.reply:
                        self._talk = self._talk.said("assistant", chunk.text, _summary(chunk.reply))
                        self._over()
                        return
                    rate = (chunk.token_count - 1) / (now - begun) if now > begun and chunk.token_count > 1 else 0.0
                    live.text = chunk.text
                    live.note = f"{chunk.token_count} tokens" + (f" · {rate:.1f} tokens a second" if rate else "")
                    show()
        finally:
            show.cancel()

    def stop(self) -> None:
        """End the answer: what came of it stays. One that has not begun does not begin; loading goes on."""
        asking = self._asking
        if asking is None:
            return
        if asking.generating:
            self._service.interrupt()  # what runs now is this answer
        else:
            asking.leave()
            self._give_back(asking)

    def _give_back(self, asking: Asking) -> None:
        """Undo the asking, where it is still awaited."""
        if asking is not self._asking:
            return
        if asking.before is None:
            self._take_back(len(self._talk.messages) - 1)
        else:
            self._talk = replace(asking.before, system=self._talk.system)
        self._over()

    def _over(self) -> None:
        self._asking = None
        self._settle()
        self._changed()

    # Changing the conversation

    def clear(self) -> None:
        """Leave the answer that is awaited and begin a new conversation; the system prompt stays."""
        self._leave()
        self._talk = self._talk.cut(0)
        self._over()
        self._view.focus("prompt")

    def edit(self, place: int) -> None:
        """Put a message back into the box; the conversation ends before it."""
        self._leave()
        self._take_back(place)
        self._over()
        self._view.focus("prompt")

    def _leave(self) -> None:
        if self._asking is not None:
            self._asking.leave()

    def _take_back(self, place: int) -> None:
        if not 0 <= place < len(self._talk.messages):
            return
        typed = self._view.value("prompt")  # since then
        parts = (self._talk.messages[place].content, typed)
        self._view.set_value("prompt", "\n\n".join(part for part in parts if part.strip()))
        self._talk = self._talk.cut(place)

    async def _regenerate(self) -> None:
        before, self._talk = self._talk, self._talk.unanswered()
        if self._talk.messages:
            await self._answer(before)

    def _act(self, action: str, argument: str) -> None:
        if action == "dismiss":
            self._toasts.dismiss(int(argument))
        elif action == "copy-code":
            self._begin(self._copy(argument))
        elif action == "copy":
            self._begin(self._copy(self._talk.messages[int(argument)].content))
        elif self._asking is not None:
            return
        elif action == "edit":
            self.edit(int(argument))
        elif action == "regenerate" and not self._service.status()["is_loading"]:
            self._begin(self._regenerate())

    async def _copy(self, text: str) -> None:
        if await self._view.copy(text):
            self._toasts.add("info", "Copied.")
        else:
            self._toasts.add("warning", "The browser did not let the page copy.", "Select the text and copy it.")

    def _export(self, ending: str) -> None:
        if not self._talk.messages:
            self._toasts.add("info", "There is no conversation to save yet.")
            return
        make, kind = (export.as_json, "application/json") if ending == "json" else (export.as_markdown, "text/markdown")
        self._view.download(f"conversation.{ending}", kind, make(self._talk, self._service.status()["model"]))

    # Settings

    def _system_changed(self) -> None:
        self._talk = replace(self._talk, system=self._view.value("system"))
        self._changed()

    async def _keep_options(self) -> None:
        """Fields of the form over what else was kept."""
        try:
            typed = read_fields({name: self._view.value(name) for name in FIELDS})
            others = {name: value for name, value in (await self._service.get_options()).items() if name not in FIELDS}
            await self._service.set_options({**others, **typed})
        except LocalLLMError as error:
            self._toasts.error(error)

    # Showing

    def _changed(self) -> None:
        self._show()
        self._begin(self._keep())

    async def _keep(self) -> None:
        async with self._keeping:  # in the order of the changes
            try:
                await self._store.set(KEY, conversation.write(self._talk))
            except Exception as error:  # a host's store may fail in ways we cannot list
                self._toasts.add("warning", f"The conversation could not be kept: {error}", "Export it.")

    def _show(self, to_end: bool = False) -> None:
        asking = self._asking
        self._view.show_log(self._log.render(self._talk, asking and asking.live, asking is not None), to_end)

    def _ready(self, detail: Mapping[str, Any]) -> None:
        self._toasts.clear("error")
        self._settle()

    def _failed(self, detail: Mapping[str, Any]) -> None:
        self._toasts.add("error", detail["message"], detail["remedy"])
        self._settle()

    def _settle(self) -> None:
        """Show what the controls allow now; an error stays on show."""
        status, asking = self._service.status(), self._asking is not None
        self._view.enable("send", not asking and not status["is_loading"])
        self._view.enable("stop", asking)
        if status["is_ready"]:
            self._view.set_phase("generating" if asking else "ready")

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the event loop alone would let it be collected
        task.add_done_callback(self._tasks.discard)


def _summary(reply: Reply) -> str:
    speed = f"{reply.tokens_per_second:.1f} tokens a second" if reply.tokens_per_second else ""
    facts = (f"{reply.usage.completion_tokens} tokens", speed, _ENDINGS.get(reply.finish_reason, ""))
    return " · ".join(fact for fact in facts if fact)
