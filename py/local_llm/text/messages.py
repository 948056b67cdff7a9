"""Messages and tools in OpenAI's form, checked, as chat templates want them. Knows no template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from local_llm.errors import InvalidRequest

ROLES = ("system", "user", "assistant", "tool")
# Names of an assistant's thoughts; templates read the first two.
_REASONING = ("reasoning_content", "thinking", "reasoning")
_KEYS = frozenset({"role", "content", "name", "tool_call_id", "tool_calls", *_REASONING})
_GIVEN = ("messages", "tools", "bos_token", "eos_token", "add_generation_prompt")
_MAX_TOOLS = 128
_MAX_NAME = 64 * 4  # OpenAI allows 64 characters; others more
_MAX_JSON = 1 << 20  # characters of all tools, or of one call's arguments
_MAX_DEPTH = 32


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """messages with every content as one text and every call's arguments as an object where they are one.

    Raises InvalidRequest, which names the message by its number.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidRequest(f"messages must be a list of {{role, content}}, found {type(messages).__name__}.")
    if not messages:
        raise InvalidRequest("messages is empty.", remedy='Give at least {"role": "user", "content": "…"}.')
    return [_check_message(number, message) for number, message in enumerate(messages)]


def _check_message(number: int, message: Any) -> dict[str, Any]:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"{where} must be a dict with role and content, found {type(message).__name__}.")
    unknown = [str(key) for key in message if key not in _KEYS]
    if unknown:
        raise InvalidRequest(
            f"{where} has the unknown key '{unknown[0][:60]}'.", remedy=f"Known keys: {', '.join(sorted(_KEYS))}."
        )
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{where} has the role {repr(role)[:60]}.", remedy=f"Known roles: {', '.join(ROLES)}.")
    for key in ("name", "tool_call_id", *_REASONING):
        if not isinstance(message.get(key, ""), str):
            raise InvalidRequest(f"{where}.{key} must be a text, found {type(message[key]).__name__}.")
    thoughts = next((message[key] for key in _REASONING if key in message), None)
    checked = dict(message)
    if thoughts is not None:
        checked = {"thinking": thoughts, **message, "reasoning_content": thoughts}
    calls = checked.get("tool_calls")
    if not calls:
        checked.pop("tool_calls", None)
    else:
        if role != "assistant":
            raise InvalidRequest(f"{where} has tool_calls, which belong to the assistant; its role is '{role}'.")
        checked["tool_calls"] = _calls(f"{where}.tool_calls", calls)
    checked["content"] = "" if calls and message.get("content") is None else _content(where, message.get("content"))
    return checked


def _content(where: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise InvalidRequest(f"{where}.content must be a text or a list of texts, found {type(content).__name__}.")
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            raise InvalidRequest(
                f"{where}.content holds a part of type {repr(kind)[:60]}; only texts are supported.",
                remedy='Give parts as {"type": "text", "text": "…"}.',
            )
        texts.append(text)
    return "\n".join(texts)


def _calls(where: str, calls: Any) -> list[dict[str, Any]]:
    if not isinstance(calls, list | tuple) or len(calls) > _MAX_TOOLS:
        raise InvalidRequest(f"{where} must be a list of at most {_MAX_TOOLS} calls, found {_kind(calls)}.")
    return [_call(f"{where}[{number}]", call) for number, call in enumerate(calls)]


def _call(where: str, call: Any) -> dict[str, Any]:
    function = _function(where, call)
    for key in set(call) - {"id", "type", "function"}:
        raise InvalidRequest(
            f"{where} has the unknown key '{str(key)[:60]}'.", remedy="Known keys: id, type, function."
        )
    if not isinstance(call.get("id", ""), str):
        raise InvalidRequest(f"{where}.id must be a text, found {type(call['id']).__name__}.")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        if len(arguments) > _MAX_JSON:
            raise InvalidRequest(f"{where}.function.arguments has more than {_MAX_JSON} characters.")
        arguments = _object_or_text(arguments)
    elif not isinstance(arguments, Mapping):
        raise InvalidRequest(f"{where}.function.arguments must be JSON text or a dict, found {_kind(arguments)}.")
    if not isinstance(arguments, str):
        arguments = plain_json(f"{where}.function.arguments", arguments)
    return {**call, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _object_or_text(arguments: str) -> Any:
    """Templates write arguments with tojson: an object must be one. Text that is no object stays as it is."""
    try:
        parsed = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments


def check_tools(tools: Any) -> list[dict[str, Any]] | None:
    """tools in OpenAI's form, [{"type": "function", "function": {"name", "description"?, "parameters"?}}], copied.

    None and [] give None: templates ask whether there are any. Raises InvalidRequest.
    """
    if tools is None or (isinstance(tools, list | tuple) and not tools):
        return None
    if not isinstance(tools, list | tuple) or len(tools) > _MAX_TOOLS:
        raise InvalidRequest(f"tools must be a list of at most {_MAX_TOOLS} functions, found {_kind(tools)}.")
    return [_tool(f"tools[{number}]", tool) for number, tool in enumerate(tools)]


def _tool(where: str, tool: Any) -> dict[str, Any]:
    function = _function(where, tool)
    if not isinstance(function.get("description", ""), str):
        raise InvalidRequest(f"{where}.function.description must be a text, found {_kind(function['description'])}.")
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise InvalidRequest(
            f"{where}.function.parameters must be a JSON schema, found {_kind(function['parameters'])}."
        )
    return plain_json(where, tool)


def _function(where: str, owner: Any) -> Mapping[str, Any]:
    function = owner.get("function") if isinstance(owner, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(owner, Mapping) or owner.get("type", "function") != "function":
        raise InvalidRequest(f"{where} must be a function, found {_kind(owner)}.", remedy=_FUNCTION)
    if not isinstance(function, Mapping) or not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise InvalidRequest(f"{where}.function.name must be a text of 1 to {_MAX_NAME} characters.", remedy=_FUNCTION)
    return function


_FUNCTION = 'Give {"type": "function", "function": {"name": "…", …}}.'


def check_options(options: Any) -> dict[str, Any]:
    """Values for a template by name, copied; None gives none. Raises InvalidRequest."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in options):
        raise InvalidRequest(f"template_options must be a dict of names and JSON values, found {_kind(options)}.")
    for name in options:
        if name in _GIVEN:
            raise InvalidRequest(
                f"template_options cannot set '{name}'.", remedy=f"Not to be set: {', '.join(_GIVEN)}."
            )
    return plain_json("template_options", options)


def plain_json(where: str, value: Any) -> Any:
    """A copy of value, which must be JSON of moderate size and depth. Raises InvalidRequest."""
    budget = [_MAX_JSON]
    return _plain(where, value, _MAX_DEPTH, budget)


def _plain(where: str, value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= len(value) + 2 if isinstance(value, str) else 4
    if budget[0] < 0 or depth < 0:
        raise InvalidRequest(f"{where} is larger than {_MAX_JSON} characters or deeper than {_MAX_DEPTH} levels.")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidRequest(f"{where} has the key {key!r:.60}; keys must be texts.")
        return {_plain(where, k, depth, budget): _plain(where, v, depth - 1, budget) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(where, item, depth - 1, budget) for item in value]
    raise InvalidRequest(f"{where} holds a {type(value).__name__}; only JSON can be told to a model.")


def _kind(value: Any) -> str:
    return f"{len(value)} items" if isinstance(value, list | tuple) else f"{type(value).__name__} {value!r:.60}"
