"""A conversation as data, its edits, and how it is kept as text. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

VERSION = 1


@dataclass(frozen=True)
class Message:
    """role: "user" or "assistant". note: small print below an answer."""

    role: str
    content: str
    note: str = ""


@dataclass(frozen=True)
class Conversation:
    """What was said, oldest first. system: said to the model before everything, where it is not empty."""

    messages: Sequence[Message] = ()
    system: str = ""

    def said(self, role: str, content: str, note: str = "") -> Conversation:
        """With one more message at its end."""
        return replace(self, messages=(*self.messages, Message(role, content, note)))

    def cut(self, place: int) -> Conversation:
        """Without the message at this place and all after it."""
        return replace(self, messages=tuple(self.messages[:place]))

    def unanswered(self) -> Conversation:
        """Without the answers at its end."""
        kept = list(self.messages)
        while kept and kept[-1].role == "assistant":
            kept.pop()
        return replace(self, messages=tuple(kept))

    def request(self) -> list[dict[str, str]]:
        """As runtime.chat takes it."""
        said = [{"role": one.role, "content": one.content} for one in self.messages]
        return [{"role": "system", "content": self.system}, *said] if self.system.strip() else said


def write(talk: Conversation) -> str:
    """As JSON text."""
    return json.dumps({"version": VERSION, "system": talk.system, "messages": [asdict(one) for one in talk.messages]})


def read(text: str | None) -> Conversation:
    """From what was kept; what does not fit is dropped."""
    try:
        given = json.loads(text or "{}")
    except ValueError:
        return Conversation()
    if not isinstance(given, dict):
        return Conversation()
    system, messages = given.get("system"), given.get("messages")
    found = [_message(one) for one in messages] if isinstance(messages, list) else []
    return Conversation(tuple(one for one in found if one), system if isinstance(system, str) else "")


def _message(given: Any) -> Message | None:
    if not isinstance(given, dict) or given.get("role") not in ("user", "assistant"):
        return None
    content, note = given.get("content"), given.get("note", "")
    return Message(given["role"], content, note if isinstance(note, str) else "") if isinstance(content, str) else None
