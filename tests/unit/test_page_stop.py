"""What the page's Stop and New end: its own answer, wherever that is, and nobody else's. Over a real service."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from local_llm.page.chat import KEY, ChatPage
from local_llm.page.conversation import Conversation, Message, read, write
from local_llm.widget.tree import text_of
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench, Shelf

LONG = {"max_tokens": 60, "ignore_eos": True}
TALK = Conversation().said("user", "Hi").said("assistant", "Hello", "7 tokens")


class Controls:
    """A View that keeps what its fields hold, what can be pressed, and what it shows."""

    def __init__(self):
        self.values, self.enabled, self.toasts, self.log, self.phase, self.pressed = {}, {}, "", "", "", {}

    def on(self, part, event, callback):
        self.pressed[part] = callback

    def show_log(self, tree, to_end):
        self.log = text_of(tree)

    def show_toasts(self, tree):
        self.toasts = text_of(tree)

    def set_phase(self, phase):
        self.phase = phase

    def enable(self, part, enabled):
        self.enabled[part] = enabled

    def value(self, part):
        return self.values.get(part, "")

    def set_value(self, part, text):
        self.values[part] = text

    def press(self, part):
        assert self.enabled.get(part, True)
        self.pressed[part]()

    def __getattr__(self, name):
        return lambda *arguments: None


class Rig:
    """A page over a service that others use, too."""

    def __init__(self, folder):
        self.bench, self.view = Bench(folder), Controls()
        self.gate = asyncio.Event()  # opening a file waits for it
        self.gate.set()
        opened = self.bench.open_blobs

        async def later(source):
            await self.gate.wait()
            return await opened(source)

        async def slowly(value):
            await asyncio.sleep(0)
            return value

        self.bench.open_blobs = later
        self.bench.device._later = slowly
        self.store = Shelf()
        self.service = self.bench.service()
        view: Any = self.view
        self.page = ChatPage(self.service, view, self.store, "tiny")

    async def start(self, load=True, talk=None):
        if talk is not None:
            await self.store.set(KEY, write(talk))
        if load:
            await self.service.init("tiny")
        await self.service.set_options(LONG)
        self.page.start()
        await settled()

    def other(self):
        """Another caller's long answer."""
        asked = self.service.complete("abc", max_tokens=90, ignore_eos=True)
        return asyncio.ensure_future(asked)

    async def heard(self, name, times=1):
        more = asyncio.Event()
        off = self.service.on(name, lambda detail: more.set())
        async with asyncio.timeout(20):
            while self.bench.names().count(name) < times:
                more.clear()
                await more.wait()
        off()

    async def ask(self, text):
        self.view.set_value("prompt", text)
        self.view.press("form")
        await settled(3)

    async def in_line(self):
        """Asks "one" behind the answers that it returns."""
        await self.start()
        others = [self.other()]
        await self.heard("generation-start")
        await self.ask("one")
        return others

    def said(self):
        return read(self.store.texts.get(KEY)).messages

    def rests(self):
        assert (self.view.enabled["send"], self.view.enabled["stop"]) == (True, False)
        assert (self.view.phase, self.view.toasts) == ("ready", "")


async def settled(turns=30):
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.fixture
def rig(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    return Rig(tmp_path)


async def whole(others):
    for reply in await asyncio.gather(*others):
        assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 90)


async def test_while_the_model_loads_the_message_goes_back_and_the_load_goes_on(rig):
    await rig.start(load=False)
    rig.gate.clear()
    await rig.ask("one")
    assert rig.service.status()["is_loading"]
    rig.view.press("stop")
    assert not rig.view.enabled["stop"]
    assert not rig.view.enabled["send"]
    rig.gate.set()
    await rig.heard("ready")
    await settled(300)
    assert (rig.view.value("prompt"), rig.said()) == ("one", ())
    assert "generation-start" not in rig.bench.names()
    rig.rests()
    await rig.ask("two")
    await rig.heard("generation-end")
    await settled()
    assert [one.content for one in rig.said()][:1] == ["two"]
    assert len(rig.said()) == 2


async def test_a_load_that_fails_after_stop_is_told_and_the_message_is_there_once(rig):
    await rig.start(load=False)
    rig.gate.clear()
    await rig.ask("one")
    rig.view.press("stop")
    (rig.bench.folder / "tiny.gguf").unlink()
    rig.gate.set()
    await rig.heard("error")
    await settled()
    assert rig.view.value("prompt") == "one"
    assert "tiny.gguf" in rig.view.toasts
    assert rig.view.enabled["send"]


async def test_in_line_the_message_goes_back_and_others_go_on(rig):
    others = await rig.in_line()
    rig.view.press("stop")
    assert rig.view.value("prompt") == "one"
    await settled(3)
    rig.rests()
    await whole(others)
    await settled(100)
    assert rig.said() == ()
    assert rig.bench.names().count("generation-start") == 1


async def test_the_turn_of_one_who_was_before_it_is_not_its_own(rig):
    await rig.start()
    others = [rig.other(), rig.other()]
    await rig.heard("generation-start")
    await rig.ask("one")
    await rig.heard("generation-start", 2)
    rig.view.press("stop")
    await settled(3)
    assert rig.view.value("prompt") == "one"
    await whole(others)
    rig.rests()
    assert rig.said() == ()


async def test_asking_again_in_line_ends_with_the_answer_as_it_was(rig):
    await rig.start(talk=TALK)
    others = [rig.other()]
    await rig.heard("generation-start")
    rig.page._act("regenerate", "")
    await settled(3)
    assert "Hello" not in rig.view.log
    rig.view.set_value("system", "Be brief.")
    rig.view.press("system")
    rig.view.press("stop")
    await settled(3)
    assert (rig.said(), rig.view.value("prompt")) == (TALK.messages, "")
    assert json.loads(rig.store.texts[KEY])["system"] == "Be brief."
    await whole(others)
    rig.rests()


async def test_while_it_answers_what_came_stays_and_the_next_in_line_goes_on(rig):
    await rig.start()
    tokens: Any = asyncio.Event()
    rig.service.on("token", lambda detail: detail["token_count"] < 5 or tokens.set())
    await rig.ask("one")
    others = [rig.other()]
    await tokens.wait()
    rig.view.press("stop")
    await rig.heard("generation-end")
    await whole(others)
    await settled()
    question, answer = rig.said()
    assert question == Message("user", "one")
    assert answer.content
    assert answer.note.endswith("stopped")
    assert 5 <= int(answer.note.split()[0]) < 60
    rig.rests()


async def test_before_its_first_word_it_stops_at_once(rig):
    await rig.start()
    rig.service.on("generation-start", lambda detail: rig.view.press("stop"))
    await rig.ask("one")
    await rig.heard("generation-end")
    await settled()
    assert rig.said() == (Message("user", "one"), Message("assistant", "", "0 tokens · stopped"))
    assert rig.bench.last("generation-end")["finish_reason"] == "interrupted"
    rig.rests()


async def test_a_new_chat_leaves_others_alone(rig):
    await rig.start(talk=TALK)
    others = [rig.other()]
    await rig.heard("generation-start")
    rig.view.press("new")
    await whole(others)
    assert rig.said() == ()


async def test_a_new_chat_in_line_can_ask_at_once(rig):
    others = await rig.in_line()
    rig.view.press("new")
    rig.rests()
    await rig.ask("two")
    await whole(others)
    await rig.heard("generation-end", 2)
    await settled()
    assert [one.content for one in rig.said()][:1] == ["two"]
    assert len(rig.said()) == 2
    assert rig.bench.names().count("generation-start") == 2


async def test_a_new_chat_while_it_answers_ends_that_answer_alone(rig):
    await rig.start()
    await rig.ask("one")
    others = [rig.other()]
    await rig.heard("generation-start")
    await settled(3)
    rig.view.press("new")
    rig.rests()
    await whole(others)
    assert rig.bench.heard[-1][0] == "generation-end"
    ended = [detail["finish_reason"] for name, detail in rig.bench.heard if name == "generation-end"]
    assert ended == ["interrupted", "length"]
    assert rig.said() == ()


async def test_a_store_that_cannot_be_read_is_told_and_the_options_are_shown(rig):
    async def broken(key):
        raise OSError("no disk")

    rig.store.get = broken
    await rig.start()
    assert rig.view.value("max_tokens") == "60"
    assert "could not be restored: no disk" in rig.view.toasts
    rig.view.toasts = ""
    await rig.ask("one")
    await rig.heard("generation-end")
    await settled()
    assert len(rig.said()) == 2
