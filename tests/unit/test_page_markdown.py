"""Answers as trees: what Markdown means, what it may not do, and that a growing text ends as the whole one."""

from __future__ import annotations

import pytest

from local_llm.page.markdown import Growing, Markdown
from local_llm.widget.tree import El, find_all

TEXT = """# Title

A *b* **c** `d` ~~e~~
next line

- one
- two

  more

```python
print("<b>")

x = 1
```

| a | b |
|---|--:|
| 1 | 2 |

> quoted

3. three
4. four

    indented = code

***

end [link](https://example.org/a?b=1&c=2)
"""


def show(item: El | str) -> str:
    """A tree as text, for comparing."""
    if isinstance(item, str):
        return repr(item)
    attributes = "".join(f" {name}={value}" for name, value in item.attributes.items())
    return f"<{item.tag}{attributes}>{''.join(show(child) for child in item.children)}</>"


def shown(text: str) -> str:
    return "".join(show(item) for item in Markdown().render(text))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a *b* **c**", "<p>'a '<em>'b'</>' '<strong>'c'</></>"),
        ("a\nb", "<p>'a\\nb'</>"),
        ("# One", "<h3>'One'</>"),
        ("- a\n- b", "<ul><li>'a'</><li>'b'</></>"),
        ("3. a", "<ol start=3><li>'a'</></>"),
        ("`<b>`", "<p><code>'<b>'</></>"),
        ("|a|\n|-:|\n|1|", None),
    ],
)
def test_markdown_means_what_it_should(text, tree):
    assert shown(text) == tree if tree else "<th data-align=right>'a'</>" in shown(text)


def test_html_stays_text():
    found = shown("<script>alert(1)</script>\n\n<img src=x onerror=alert(1)> a <b>c</b>")
    assert found == "<p>'<script>alert(1)</script>'</><p>'<img src=x onerror=alert(1)> a <b>c</b>'</>"


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc", "/x", "x:y"]
)
def test_links_go_nowhere_else(href):
    assert "href" not in shown(f"[a]({href}) <{href}>")
    assert "a" in shown(f"[a]({href})")


@pytest.mark.parametrize("href", ["https://example.org/", "http://example.org/", "mailto:a@example.org"])
def test_links_open_apart(href):
    assert shown(f"[a]({href})") == f"<p><a href={href} target=_blank rel=noopener noreferrer>'a'</></>"


def test_a_picture_asks_nothing_of_the_network():
    found = shown("![cat](https://example.org/cat.png) ![dog](data:image/png;base64,AA)")
    assert "img" not in found
    assert "<a href=https://example.org/cat.png target=_blank rel=noopener noreferrer>'cat'</>" in found
    assert "data:" not in found


def test_code_has_a_copy_button():
    (block,) = Markdown().render("```js\nlet a = '<b>';\n```")
    assert isinstance(block, El)
    assert [button.tag for button in find_all(block, data_action="copy-code")] == ["button"]
    assert "<pre tabindex=0><code>\"let a = '<b>';\\n\"</></>" in show(block)
    assert "'js'" in show(block)


@pytest.mark.parametrize("step", [1, 7, 40])
def test_a_growing_text_is_at_every_moment_what_it_is_alone(step):
    growing = Growing(Markdown())
    for end in [*range(1, len(TEXT), step), len(TEXT)]:
        assert "".join(show(item) for item in growing.feed(TEXT[:end])) == shown(TEXT[:end]), TEXT[:end]


def test_finished_blocks_are_made_once():
    growing = Growing(Markdown())
    first = growing.feed("one\n\ntwo\n\nthree")
    second = growing.feed("one\n\ntwo\n\nthree and more")
    assert [a is b for a, b in zip(first[:2], second[:2], strict=True)] == [True, True]


def test_lines_may_end_as_on_windows():
    growing = Growing(Markdown())
    text = "a\r\n\r\nb\r\n\r\n```\r\nc\r\n```\r\n"
    for end in range(1, len(text) + 1):
        shown_now = "".join(show(item) for item in growing.feed(text[:end]))
    assert shown_now == shown(text)
