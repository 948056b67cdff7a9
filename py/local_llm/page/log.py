"""The conversation as a tree of elements. Finished messages are made once. Knows no DOM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from local_llm.page.conversation import Conversation, Message
from local_llm.page.markdown import Growing, Markdown
from local_llm.widget.tree import El, h

HINT = "Ask something. The model runs in this page, on your own GPU."


@dataclass
class Live:
    """An answer that is being generated."""

    text: str = ""
    note: str = ""
    growing: Growing = field(default_factory=lambda: Growing(Markdown()))


class Log:
    """Renders one page's conversation."""

    def __init__(self) -> None:
        self._markdown = Markdown()
        self._made: dict[tuple[int, Message, bool, bool], El] = {}

    def render(self, talk: Conversation, live: Live | None, busy: bool) -> El:
        """busy: nothing can be edited or asked again now."""
        last = len(talk.messages) - 1
        kept: dict[tuple[int, Message, bool, bool], El] = {}
        for place, message in enumerate(talk.messages):
            key = (place, message, place == last, busy)
            kept[key] = self._made.get(key) or self._article(*key)
        self._made = kept
        articles = list(kept.values())
        if live is not None:
            blocks = live.growing.feed(live.text) if live.text else [h("p", "…", class_="quiet")]
            answer = h("div", *blocks, class_="answer")
            articles.append(_frame("assistant", len(articles), [answer], live.note, []))
        return h("div", articles or h("p", HINT, class_="hint"), class_="messages")

    def _article(self, place: int, message: Message, last: bool, busy: bool) -> El:
        if message.role == "user":
            buttons = [] if busy else [_button("edit", "Edit", place, "Edit this message and ask again from here")]
            return _frame("user", place, [h("p", message.content)], "", buttons)
        buttons = [_button("copy", "Copy", place, "Copy this answer")]
        if last and not busy:
            buttons.append(_button("regenerate", "Regenerate", place, "Answer again"))
        body = h("div", *self._markdown.render(message.content), class_="answer")
        return _frame("assistant", place, [body], message.note, buttons)


def _frame(role: str, place: int, body: Sequence[El], note: str, buttons: Sequence[El]) -> El:
    foot = h("footer", h("small", note), list(buttons))
    return h("article", list(body), foot, key=f"{role}{place}", data_role=role)


def _button(action: str, text: str, place: int, label: str) -> El:
    return h("button", text, type="button", data_action=action, data_index=str(place), aria_label=label, key=action)
