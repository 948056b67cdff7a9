"""The page's course of events over a page that is not there: what becomes of a message when things go another way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from local_llm.errors import LocalLLMError
from local_llm.page.chat import KEY, RENDER_SECONDS, ChatPage
from local_llm.page.conversation import read
from local_llm.reply import Chunk, Reply, Usage
from local_llm.widget.tree import text_of


class NoPage:
    """A View that keeps fields' values and the texts that it showed, and forgets the rest."""

    def __init__(self):
        self.values, self.shown, self.toasts = {}, [], []

    def show_log(self, tree, to_end):
        self.shown.append(text_of(tree))

    def show_toasts(self, tree):
        self.toasts.append(text_of(tree))

    def value(self, part):
        return self.values.get(part, "")

    def set_value(self, part, text):
        self.values[part] = text

    def __getattr__(self, name):
        return lambda *arguments: None


class NoModel:
    """A service that answers what it was asked last: all but one letter at once, the rest once `gate` opens.

    fails: raised instead of an answer.
    """

    def __init__(self):
        self.gate, self.asked, self.ready, self.fails = asyncio.Event(), [], False, None
        self.loading = False

    def on(self, name, callback):
        pass

    def status(self):
        return {"is_ready": self.ready, "is_loading": self.loading, "model": "m"}

    async def get_options(self):
        return {}

    def interrupt(self):
        self.gate.set()

    async def init(self, source):
        await self.gate.wait()
        if self.fails:
            raise self.fails
        self.ready = True

    async def chat(self, messages, stream):
        self.asked.append(messages)
        return self._answer(messages[-1]["content"].upper())

    async def _answer(self, text):
        for count in range(1, len(text)):
            yield Chunk(text[count - 1], text[:count], count)
        await self.gate.wait()
        yield Chunk("", text, 2, True, Reply(text, (1, 2), Usage(1, 2, 0), "stop", "m", 1.0, 0.1, 3.0))


class Kept(dict):
    async def get(self, key):
        return super().get(key)

    async def set(self, key, text):
        self[key] = text


@pytest.fixture
def rig():
    view: Any = NoPage()
    service: Any = NoModel()
    store: Any = Kept()
    return ChatPage(service, view, store, None), view, service, store


def said(store):
    return [one.content for one in read(store[KEY]).messages]


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_answer_is_kept_with_its_speed(rig):
    page, _, service, store = rig
    service.gate.set()
    page.start()
    await page.send("one")
    await settled()
    assert said(store) == ["one", "ONE"]
    assert read(store[KEY]).messages[1].note == "2 tokens · 3.0 tokens a second"


async def test_what_came_in_a_burst_is_shown_while_the_rest_is_awaited(rig):
    page, view, service, _ = rig
    service.ready = True
    task = asyncio.ensure_future(page.send("question"))
    await settled()
    drawn = len(view.shown)
    assert "QUESTIO" not in view.shown[-1]
    await asyncio.sleep(2 * RENDER_SECONDS)
    assert "QUESTIO 7 tokens" in view.shown[-1]
    assert len(view.shown) == drawn + 1
    service.gate.set()
    await task
    drawn = len(view.shown)
    await asyncio.sleep(2 * RENDER_SECONDS)
    assert len(view.shown) == drawn


async def test_an_answer_stays_where_another_one_fails(rig):
    page, view, service, store = rig
    service.gate.set()
    await page.send("one")
    await settled()
    service.ready, service.fails = False, LocalLLMError("no")
    page._act("regenerate", "")
    await settled()
    assert (said(store), view.value("prompt")) == (["one", "ONE"], "")
    assert "ONE" in view.shown[-1]
    service.fails = None
    page._act("regenerate", "")
    await settled()
    assert (len(service.asked), said(store)) == (2, ["one", "ONE"])


async def test_nothing_is_asked_again_while_a_model_loads(rig):
    page, _, service, store = rig
    service.gate.set()
    await page.send("one")
    service.loading = True
    page._act("regenerate", "")
    await settled()
    assert (len(service.asked), said(store)) == (1, ["one", "ONE"])


async def test_what_was_typed_meanwhile_stays_in_the_box(rig):
    page, view, service, _ = rig
    service.fails = LocalLLMError("no")
    task = asyncio.ensure_future(page.send("one"))
    await settled()
    view.set_value("prompt", "two")
    service.gate.set()
    await task
    assert view.value("prompt") == "one\n\ntwo"


async def test_a_conversation_that_cannot_be_kept_is_told(rig):
    page, view, service, store = rig

    async def full(key, text):
        raise OSError("full")

    store.set = full
    service.gate.set()
    await page.send("one")
    await settled()
    assert any("could not be kept: full" in each for each in view.toasts)


async def test_a_new_chat_while_the_model_loads_asks_nothing(rig):
    page, view, service, store = rig
    task = asyncio.ensure_future(page.send("one"))
    await settled()
    page.clear()
    service.gate.set()
    await task
    await settled()
    assert (service.asked, said(store), view.value("prompt")) == ([], [], "")


async def test_a_new_chat_while_it_answers_forgets_the_answer(rig):
    page, _, service, store = rig
    service.ready = True
    task = asyncio.ensure_future(page.send("one"))
    await settled()
    page.clear()
    await task
    await settled()
    assert said(store) == []
    service.gate.set()
    await page.send("two")
    assert service.asked[-1] == [{"role": "user", "content": "two"}]


async def test_a_message_that_cannot_be_answered_goes_back_to_the_box(rig):
    page, view, service, store = rig
    service.fails = LocalLLMError("no", remedy="yes")
    service.gate.set()
    await page.send("one")
    await settled()
    assert (said(store), view.value("prompt")) == ([], "one")
