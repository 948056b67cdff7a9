"""A conversation as a file that a person keeps: JSON as chat APIs take it, or Markdown. Pure."""

from __future__ import annotations

import json

from local_llm.page.conversation import Conversation

_NAMES = {"system": "System", "user": "You", "assistant": "Model"}


def as_json(talk: Conversation, model: str | None) -> str:
    """{"model", "messages": [{"role", "content"}]}, readable."""
    return json.dumps({"model": model, "messages": talk.request()}, indent=2, ensure_ascii=False) + "\n"


def as_markdown(talk: Conversation, model: str | None) -> str:
    """One section a message; what was said stands as it was said."""
    parts = ["# Conversation", *([f"Model: {model}"] if model else [])]
    for said in talk.request():
        parts += [f"## {_NAMES[said['role']]}", said["content"].strip("\n")]
    return "\n\n".join(parts) + "\n"
