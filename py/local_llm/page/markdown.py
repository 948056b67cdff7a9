"""Markdown to a tree of elements, by markdown-it-py. Knows no DOM.

HTML in it stays text; pictures become links, so that an answer asks nothing of the network; links go to http, https and
mailto only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from local_llm.widget.tree import El, h

_SAFE = ("http://", "https://", "mailto:")
_PLAIN = {"p", "blockquote", "ul", "ol", "li", "em", "strong", "s", "table", "thead", "tbody", "tr", "th", "td", "a"}
_HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}  # below the page's own


class Markdown:
    """A parser; keeps nothing between texts."""

    def __init__(self) -> None:
        self._parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

    def render(self, text: str) -> list[El | str]:
        """The blocks of a whole text."""
        return _tree(self.tokens(text))

    def tokens(self, text: str) -> list[Token]:
        """markdown-it's flat list."""
        return self._parser.parse(text)


@dataclass
class Growing:
    """The blocks of a text that grows at its end. Only its last block can still change: the others are kept.

    A link whose reference is defined in a later block is a link in Markdown.render only.
    """

    markdown: Markdown
    _done: list[El | str] = field(default_factory=list)
    _start: int = 0  # of the last block, in characters

    def feed(self, text: str) -> list[El | str]:
        """All blocks. text: everything so far, which begins with what it was before."""
        tail = text.replace("\r\n", "\n").replace("\r", "\n")[self._start :]
        tokens = self.markdown.tokens(tail)
        openings = [place for place, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
        last = openings[-1] if openings else 0
        if last and (lines := tokens[last].map):
            self._done += _tree(tokens[:last])
            self._start += sum(len(line) + 1 for line in tail.split("\n")[: lines[0]])
        return [*self._done, *_tree(tokens[last:])]


@dataclass
class _Open:
    """An element whose end has not come yet."""

    tag: str
    attributes: dict[str, str]
    children: list[El | str] = field(default_factory=list)

    def add(self, item: El | str) -> None:
        if isinstance(item, str) and self.children and isinstance(self.children[-1], str):
            self.children[-1] += item
        elif item != "":
            self.children.append(item)


def _tree(tokens: Sequence[Token]) -> list[El | str]:
    stack = [_Open("", {})]
    for token in _flat(tokens):
        if token.nesting == 1:
            stack.append(_opened(token))
        elif token.nesting == -1:
            done = stack.pop()
            for child in [El(done.tag, done.attributes, tuple(done.children))] if done.tag else done.children:
                stack[-1].add(child)
        else:
            stack[-1].add(_leaf(token))
    return stack[0].children


def _flat(tokens: Sequence[Token]) -> Iterator[Token]:
    """Without the tokens that stand for a line of text, and without the paragraphs of a tight list."""
    for token in tokens:
        if token.type == "inline":
            yield from token.children or ()
        elif not token.hidden:
            yield token


def _opened(token: Token) -> _Open:
    tag = _HEADINGS.get(token.tag, token.tag if token.tag in _PLAIN else "")
    if tag == "a":
        return _link(str(token.attrGet("href") or ""))
    attributes: dict[str, str] = {}
    if tag == "ol" and token.attrGet("start") is not None:
        attributes["start"] = str(token.attrGet("start"))
    if tag in ("th", "td") and token.attrGet("style"):
        attributes["data-align"] = str(token.attrGet("style")).removeprefix("text-align:")
    return _Open(tag, attributes)


def _link(href: str) -> _Open:
    """A link that opens apart; one to anywhere else is only its text."""
    if not href.lower().startswith(_SAFE):
        return _Open("", {})
    return _Open("a", {"href": href, "target": "_blank", "rel": "noopener noreferrer"})


def _leaf(token: Token) -> El | str:
    if token.type in ("fence", "code_block"):
        return code_block(token.content, token.info.strip().split(" ")[0])
    if token.type == "code_inline":
        return h("code", token.content)
    if token.type == "image":
        opened = _link(str(token.attrGet("src") or ""))
        text = token.content or "picture"
        return El("a", opened.attributes, (text,)) if opened.tag else text
    if token.type == "softbreak":
        return "\n"
    if token.type in ("hardbreak", "hr"):
        return h(token.tag)
    return token.content


def code_block(code: str, language: str) -> El:
    """Code with its language and a button that copies it."""
    button = h("button", "Copy", type="button", data_action="copy-code", aria_label="Copy this code")
    head = h("figcaption", h("span", language or "code"), button)
    return h("figure", head, h("pre", h("code", code), tabindex="0"))
