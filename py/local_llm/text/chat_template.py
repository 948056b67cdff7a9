"""Messages to the text that a model was trained on, by the model's own Jinja template. Knows no tokens.

The template is untrusted, and so are the messages; sandbox.py bounds what the one can do with the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from local_llm.errors import InvalidRequest, UnsupportedModel
from local_llm.text.allowance import Excess
from local_llm.text.messages import check_messages
from local_llm.text.sandbox import Refused, Sandbox
from local_llm.text.shield import all_texts

_BROKEN = (TemplateError, Excess, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class ChatTemplate:
    """One compiled template. Raises UnsupportedModel where it is not valid Jinja."""

    def __init__(self, source: str) -> None:
        self._sandbox = Sandbox()
        try:
            self._template = self._sandbox.compiled(source)
        except (*_BROKEN, SyntaxError, MemoryError) as error:
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
        values = (
            {"tools": None, "documents": None}
            | extra
            | {
                "messages": [dict(message) for message in messages],
                "bos_token": bos_token,
                "eos_token": eos_token,
                "add_generation_prompt": add_generation_prompt,
            }
        )
        try:
            return self._sandbox.run(self._template, values, sum(map(len, all_texts(values))))
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


@dataclass(frozen=True)
class Templates:
    """The templates of one model by name. Most have "default" only; some have another for "tool_use"."""

    sources: Mapping[str, str]

    def choose(self, tools: bool) -> str | None:
        """The template for a conversation with or without tools; None: the model has none."""
        usual = self.sources.get("default") or next(iter(self.sources.values()), None)
        return self.sources.get("tool_use", usual) if tools else usual


def templates_of_gguf(metadata: Mapping[str, Any]) -> Templates:
    """tokenizer.chat_template, and tokenizer.chat_template.NAME for others."""
    key = "tokenizer.chat_template"
    named = {name.removeprefix(f"{key}."): text for name, text in metadata.items() if name.startswith(f"{key}.")}
    return Templates(_texts({"default": metadata.get(key), **named}))


def templates_of_config(config: Mapping[str, Any], file: str | None) -> Templates:
    """Those of tokenizer_config.json, a text or a list of {name, template}; file, chat_template.jinja, counts more."""
    found = config.get("chat_template")
    if isinstance(found, list):
        entries = (entry for entry in found if isinstance(entry, Mapping))
        found = {str(entry.get("name")): entry.get("template") for entry in entries}
    elif not isinstance(found, Mapping):
        found = {"default": found}
    return Templates(_texts({**found, **({"default": file} if file else {})}))


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in found.items() if isinstance(text, str) and text.strip()}


def _unusable(error: BaseException) -> UnsupportedModel:
    reason = str(error)[:200] or type(error).__name__
    return UnsupportedModel(
        f"The model's chat template cannot be used: {reason}.",
        remedy="Use complete() with a prompt of your own, or another copy of the model.",
    )
