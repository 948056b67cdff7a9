"""Control tokens are found where one regular expression of all of them, longest first, would find them."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm.text.control import ControlTokens

TOKENS = st.lists(st.text("<|ab>^-]\\\n", min_size=1, max_size=5), max_size=9)
TEXTS = st.lists(st.text("<|ab>^-]\\\n", max_size=5), max_size=9)


@settings(max_examples=400, deadline=None)
@given(TOKENS, TEXTS)
def test_what_is_found_is_what_an_expression_finds(tokens, parts):
    text = "".join([*parts, *tokens, *parts])
    alternatives = "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)"
    found = [(match.start(), match[0]) for match in re.finditer(alternatives, text)]
    assert list(ControlTokens(tokens).find(text)) == found
    every = [(match.start(), match[1]) for match in re.finditer(f"(?=({alternatives}))", text)]
    assert list(ControlTokens(tokens).places(text)) == every


def test_no_tokens_are_found_nowhere():
    assert list(ControlTokens(()).find("a<|im_end|>")) == []
