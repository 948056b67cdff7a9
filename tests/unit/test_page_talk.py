"""The conversation, how it is kept and saved, the settings' fields, the log's tree, and toasts: no page needed."""

from __future__ import annotations

import json

import pytest

from local_llm.errors import InvalidRequest
from local_llm.page.conversation import Conversation, Message, read, write
from local_llm.page.export import as_json, as_markdown
from local_llm.page.log import Live, Log
from local_llm.page.sampling import read_fields, show_fields
from local_llm.page.toasts import MOST, Toasts
from local_llm.widget.tree import find_all, text_of

TALK = (
    Conversation(system="Be brief.").said("user", "Hi").said("assistant", "Hello *you*", "2 tokens").said("user", "é?")
)


def test_edits_leave_the_old_conversation_alone():
    assert TALK.cut(1).messages == (Message("user", "Hi"),)
    assert TALK.said("assistant", "a").said("assistant", "b").unanswered() == TALK
    assert TALK.cut(2).unanswered().messages == (Message("user", "Hi"),)
    assert Conversation().unanswered().messages == ()
    assert len(TALK.messages) == 3


def test_the_model_hears_the_system_prompt_first():
    assert [one["role"] for one in TALK.request()] == ["system", "user", "assistant", "user"]
    assert Conversation(system="  ").said("user", "x").request() == [{"role": "user", "content": "x"}]


def test_what_is_kept_comes_back():
    assert read(write(TALK)) == TALK


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"messages": 3, "system": 4}', '{"messages": [3, {}]}'])
def test_what_is_damaged_is_an_empty_conversation(text):
    assert read(text) == Conversation()


def test_only_what_fits_is_read():
    odd = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": 3},
        {"role": "user", "content": "a", "note": 1},
    ]
    assert read(json.dumps({"messages": odd})).messages == (Message("user", "a"),)


def test_export():
    saved = json.loads(as_json(TALK, "m"))
    assert saved == {"model": "m", "messages": TALK.request()}
    assert "é" in as_json(TALK, None)
    expected = "# Conversation\n\nModel: m\n\n## System\n\nBe brief.\n\n## You\n\nHi\n\n## Model\n\nHello *you*\n\n"
    assert as_markdown(TALK, "m") == expected + "## You\n\né?\n"


def test_fields_are_options():
    typed = {"temperature": " 0.7", "top_p": "", "top_k": "40", "max_tokens": "9", "seed": "0"}
    options = {"temperature": 0.7, "top_k": 40, "max_tokens": 9, "seed": 0}
    assert read_fields(typed) == options
    assert show_fields(options) == {**typed, "temperature": "0.7"}
    assert set(show_fields({}).values()) == {""}


@pytest.mark.parametrize(("name", "text"), [("temperature", "hot"), ("top_k", "1.5"), ("top_p", "2"), ("seed", "-1")])
def test_a_wrong_field_is_named(name, text):
    with pytest.raises(InvalidRequest, match=name):
        read_fields({name: text})


def actions(tree):
    return [one.attributes["data-action"] for one in found_buttons(tree)]


def found_buttons(tree):
    return [one for one in find_all(tree, type="button") if "data-action" in one.attributes]


def test_only_the_last_answer_can_be_asked_again():
    talk = TALK.cut(2).said("user", "b").said("assistant", "c")
    assert actions(Log().render(talk, None, busy=False)) == ["edit", "copy", "edit", "copy", "regenerate"]
    assert actions(Log().render(talk, None, busy=True)) == ["copy", "copy"]


def test_finished_messages_are_made_once_and_the_live_answer_grows():
    log, live = Log(), Live()
    before = log.render(TALK, live, busy=True)
    live.text, live.note = "one\n\n*two*", "3 tokens"
    after = log.render(TALK, live, busy=True)
    assert [a is b for a, b in zip(before.children, after.children, strict=True)] == [True, True, True, False]
    assert text_of(after.children[-1]) == "one two 3 tokens"
    assert text_of(before.children[-1]).startswith("…")


def test_an_empty_log_says_what_to_do():
    assert "Ask something" in text_of(Log().render(Conversation(), None, busy=False))


def test_toasts():
    shown = []
    toasts = Toasts(shown.append)
    toasts.add("error", "No GPU.", "Get one.")
    toasts.add("error", "No GPU.", "Get one.")
    assert [one.message for one in toasts.items] == ["No GPU."]
    assert text_of(shown[-1]) == "No GPU. Get one. ✕"
    assert find_all(shown[-1], role="alert")
    toasts.dismiss(1)
    assert text_of(shown[-1]) == ""
    for number in range(MOST + 2):
        toasts.add("warning", f"{number}")
    assert [one.message for one in toasts.items] == ["2", "3", "4", "5"]
    toasts.clear("warning")
    assert toasts.items == []
