"""Messages to text by MLC's conversation templates (`conv_template`): roles and separators. Knows no tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local_llm.errors import CorruptModel, InvalidRequest


class Conversation:
    """One conv_template; renders as a ChatTemplate does. Raises CorruptModel where it is none."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self._definition = definition
        self._roles = _texts(definition, "roles")
        self._role_templates = _texts(definition, "role_templates", {})
        self._separators = _list(definition, "seps", ["\n"])
        self.stop_texts = tuple(text for text in _list(definition, "stop_str", []) if text)
        found = definition.get("stop_token_ids") or []
        self.stop_ids = tuple(token for token in found if isinstance(token, int)) if isinstance(found, list) else ()
        prefix = definition.get("system_prefix_token_ids")
        self.prefix_ids = tuple(token for token in prefix if isinstance(token, int)) if isinstance(prefix, list) else ()
        for role in ("user", "assistant"):
            if role not in self._roles:
                raise _wrong("roles", "a text for user and for assistant", self._roles)

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **extra: Any) -> str:
        """The prompt for checked messages. Raises InvalidRequest for tools, which such templates cannot tell."""
        if extra.get("tools") or any(message.get("tool_calls") for message in messages):
            raise InvalidRequest(
                "This model's conversation template knows no tools.",
                remedy="Leave tools out, or use a copy of the model with a chat_template in its tokenizer_config.json.",
            )
        system = [str(message["content"]) for message in messages if message["role"] == "system"]
        text = self._system("\n\n".join(system) if system else _text(self._definition, "system_message"))
        turns = [message for message in messages if message["role"] != "system"]
        named = self._definition.get("add_role_after_system_message", True)
        for number, message in enumerate(turns):
            role = "assistant" if message["role"] == "assistant" else message["role"]
            begins = "" if not named and text and number == 0 else self._begin(role, "role_content_sep")
            text += begins + self._fill(role, str(message["content"])) + self._separators[self._which(role)]
        return text + (self._begin("assistant", "role_empty_sep") if add_generation_prompt else "")

    def _system(self, message: str) -> str:
        template = self._definition.get("system_template")
        return template.replace("{system_message}", message) if isinstance(template, str) else message

    def _begin(self, role: str, separator: str) -> str:
        name = self._roles.get(role, self._roles["user"])
        return name + _text(self._definition, separator)

    def _fill(self, role: str, content: str) -> str:
        template = self._role_templates.get(role, f"{{{role}_message}}")
        return template.replace(f"{{{role}_message}}", content).replace("{function_string}", "")

    def _which(self, role: str) -> int:
        return len(self._separators) - 1 if role == "assistant" else 0


def _texts(definition: Mapping[str, Any], key: str, default: Any = None) -> dict[str, str]:
    found = definition.get(key, default)
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()):
        raise _wrong(key, "texts by role", found)
    return {str(role): text for role, text in found.items()}


def _list(definition: Mapping[str, Any], key: str, default: list[str]) -> list[str]:
    found = definition.get(key)
    found = [found] if isinstance(found, str) else found or default
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise _wrong(key, "a list of texts", found)
    return found


def _text(definition: Mapping[str, Any], key: str) -> str:
    found = definition.get(key) or ""
    if not isinstance(found, str):
        raise _wrong(key, "a text", found)
    return found


def _wrong(key: str, wanted: str, found: Any) -> CorruptModel:
    return CorruptModel(
        f"mlc-chat-config.json: conv_template.{key} must be {wanted}, found {found!r:.60}.",
        remedy="Download the file again, or use another copy.",
    )
