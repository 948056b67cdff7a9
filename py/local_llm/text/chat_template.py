"""Messages to the text that a model was trained on, by the model's own Jinja template. Knows no tokens.

The template is untrusted, and so are the messages; sandbox.py bounds what the one can do with the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from local_llm.errors import InvalidRequest, UnsupportedModel
from local_llm.text.sandbox import Refused, Sandbox
from local_llm.text.shield import all_texts

ROLES = ("system", "user", "assistant", "tool")
_KEYS = frozenset({"role", "content", "name", "tool_call_id"})
_BROKEN = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class ChatTemplate:
    """One compiled template. Raises UnsupportedModel where it is not valid Jinja."""

    def __init__(self, source: str) -> None:
        self._sandbox = Sandbox()
        try:
            self._template = self._sandbox.from_string(source)
        except (TemplateError, RecursionError, SyntaxError, MemoryError) as error:
            raise _unusable(error) from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        bos_token: str = "",
        eos_token: str = "",
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> str:
        """The prompt for checked messages (see check_messages).

        Raises InvalidRequest where the template refuses these messages, UnsupportedModel where it fails.
        """
        values = extra | {
            "messages": [dict(message) for message in messages],
            "bos_token": bos_token,
            "eos_token": eos_token,
            "add_generation_prompt": add_generation_prompt,
        }
        limit = 4 * sum(map(len, all_texts(values))) + (64 << 10)
        try:
            return self._sandbox.run(self._template, values, limit)
        except Refused as error:
            raise InvalidRequest(f"The model's chat template refuses these messages: {error}") from None
        except (*_BROKEN, MemoryError) as error:
            raise _unusable(error) from None


def render(template: str | None, messages: Any, **options: Any) -> str:
    """Check messages and render them; options as in ChatTemplate.render. Raises InvalidRequest, UnsupportedModel."""
    return open_template(template).render(check_messages(messages), **options)


def open_template(source: object) -> ChatTemplate:
    """The template that a file's metadata holds, or InvalidRequest where it holds none."""
    if not isinstance(source, str) or not source.strip():
        raise InvalidRequest(
            "This model has no chat template: it is a base model, which continues texts.",
            remedy="Use complete(), or a model that was trained to chat.",
        )
    return ChatTemplate(source)


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """messages with every content as one text. Raises InvalidRequest, which names the message by its number."""
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
    for key in ("name", "tool_call_id"):
        if not isinstance(message.get(key, ""), str):
            raise InvalidRequest(f"{where}.{key} must be a text, found {type(message[key]).__name__}.")
    return dict(message) | {"content": _content(where, message.get("content"))}


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


def _unusable(error: BaseException) -> UnsupportedModel:
    reason = str(error)[:200] or type(error).__name__
    return UnsupportedModel(
        f"The model's chat template cannot be used: {reason}.",
        remedy="Use complete() with a prompt of your own, or another copy of the model.",
    )
