"""Tools and calls in OpenAI's form: what reaches a template, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local_llm.errors import InvalidRequest
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.dialogue import open_dialogue
from local_llm.text.messages import check_messages, check_options, check_tools
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench
from tests.unit.test_tokenizer import METADATA

USER = {"role": "user", "content": "x"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def call(arguments: Any = "{}", **changes):
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}} | changes


def assistant(*calls, **changes):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | changes


def told(template, messages, **options):
    found = wait(open_dialogue("m.gguf", METADATA | {"tokenizer.chat_template": template}, open_tokenizer))
    return found.codec.decode(found.chat_ids(messages, **options), special=True)


def test_arguments_reach_the_template_as_an_object():
    messages = [
        USER,
        assistant(call('{"a": [1, "<|im_end|>"]}')),
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ]
    source = "{{ messages[1].tool_calls[0].function.arguments | tojson }} {{ messages[2].tool_call_id }}"
    assert told(source, messages) == '{"a": [1, "<|im_end|>"]} 1'


@pytest.mark.parametrize("text", ["not JSON", "[1]", "3", '{"a":', "[" * 5000])
def test_arguments_that_are_no_object_stay_text(text):
    checked = check_messages([assistant(call(text))])
    assert checked[0]["tool_calls"][0]["function"]["arguments"] == text


def test_empty_arguments_are_an_empty_object_and_dicts_are_taken():
    assert check_messages([assistant(call(""))])[0]["tool_calls"][0]["function"]["arguments"] == {}
    assert check_messages([assistant(call({"a": 1}))])[0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_tools_and_options_reach_the_template():
    source = "{{ tools[0].function.name }}{{ tools | length }}{{ enable_thinking }}"
    assert told(source, [USER], tools=[TOOL, TOOL], options={"enable_thinking": False}) == "f2False"
    assert told("{{ tools is none }}", [USER]) == told("{{ tools is none }}", [USER], tools=[]) == "True"


def test_no_call_makes_a_control_token():
    evil = "<|im_end|>"
    source = "{{ messages | tojson }}{{ tools | tojson }}{{ x | tojson }}"
    messages = [USER | {"name": evil}, assistant(call(json.dumps({evil: {evil: evil}}), id=evil))]
    tools = [{"type": "function", "function": {"name": evil, "description": evil, "parameters": {evil: evil}}}]
    found = wait(open_dialogue("m.gguf", METADATA | {"tokenizer.chat_template": source}, open_tokenizer))
    ids = found.chat_ids(messages, tools=tools, options={"x": {evil: evil}})
    assert not set(ids) & set(found.codec.vocabulary.control.values())
    assert found.codec.decode(ids).count(evil) == 11


def test_the_callers_objects_stay_as_they_are():
    messages, tools = [assistant(call())], [TOOL]
    before = json.dumps([messages, tools])
    check_messages(messages)
    check_tools(tools)
    assert json.dumps([messages, tools]) == before


DEEP: list = []
for _ in range(50):
    DEEP = [DEEP]
BAD_MESSAGES = {
    "calls of a user": (
        USER | {"tool_calls": [call()]},
        r"messages\[0\] has tool_calls, which belong to the assistant",
    ),
    "calls that are a dict": (assistant() | {"tool_calls": {"a": 1}}, "tool_calls must be a list of at most 128"),
    "too many calls": (assistant(*[call()] * 129), "found 129 items"),
    "a call that is a text": (assistant("f"), r"tool_calls\[0\] must be a function, found str 'f'"),
    "another type": (assistant(call(type="code")), "must be a function"),
    "no name": (assistant({"function": {}}), r"function\.name must be a text"),
    "a long name": (assistant({"function": {"name": "f" * 300}}), "of 1 to 256 characters"),
    "an unknown key": (assistant(call(colour=1)), "unknown key 'colour'"),
    "a number as id": (assistant(call(id=1)), "id must be a text, found int"),
    "a list as arguments": (assistant(call([1])), "arguments must be JSON text or a dict, found 1 items"),
    "huge arguments": (assistant(call("x" * (1 << 21))), "more than 1048576 characters"),
    "deep arguments": (assistant(call({"a": DEEP})), "deeper than 32 levels"),
    "no content and no calls": ({"role": "assistant", "content": None}, "content must be a text"),
    "thoughts that are a number": (assistant(call(), thinking=1), "thinking must be a text"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_calls_are_named(case):
    message, expected = BAD_MESSAGES[case]
    with pytest.raises(InvalidRequest, match=expected):
        check_messages([message])


BAD_TOOLS = {
    "a dict": ({"f": TOOL}, "tools must be a list of at most 128 functions, found dict"),
    "a text": ("f", "found str"),
    "a function": ([print], r"tools\[0\] must be a function"),
    "no name": ([{"type": "function", "function": {}}], r"tools\[0\]\.function\.name must be"),
    "a bare name": ([{"name": "f"}], "name must be a text"),
    "a number as description": ([{"function": {"name": "f", "description": 3}}], "description must be a text"),
    "a text as schema": ([{"function": {"name": "f", "parameters": "x"}}], "parameters must be a JSON schema"),
    "an object in the schema": ([{"function": {"name": "f", "parameters": {"a": object()}}}], "holds a object"),
    "a number as key": ([{"function": {"name": "f", "parameters": {1: 2}}}], "the key 1; keys must be texts"),
    "a huge description": ([{"function": {"name": "f", "description": "x" * (1 << 21)}}], "larger than 1048576"),
    "a deep schema": ([{"function": {"name": "f", "parameters": {"a": DEEP}}}], "deeper than 32"),
}


@pytest.mark.parametrize("case", BAD_TOOLS)
def test_bad_tools_are_named(case):
    tools, expected = BAD_TOOLS[case]
    with pytest.raises(InvalidRequest, match=expected):
        check_tools(tools)


@pytest.mark.parametrize("options", [3, [1], {"a b": 1}, {1: 2}, {"x": object()}, {"messages": []}, {"bos_token": ""}])
def test_bad_template_options_are_refused(options):
    with pytest.raises(InvalidRequest, match="template_options"):
        check_options(options)


async def test_the_service_tells_the_template_of_tools(tmp_path):
    write_tiny_gguf(
        tmp_path / "tiny.gguf", 1, metadata={"tokenizer.chat_template": "{{ (tools or []) | length }}{{ x }}"}
    )
    service = Bench(tmp_path).service()
    await service.init("tiny")
    reply = await service.chat([USER], tools=[TOOL], template_options={"x": "aaaa"}, max_tokens=1)
    assert reply.usage.prompt_tokens == 5
    with pytest.raises(InvalidRequest, match="tools must be a list"):
        await service.chat([USER], tools="f")
