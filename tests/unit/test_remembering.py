"""Texts whose ids are known are not tokenized again; what is kept of them has a bound."""

from local_llm.text import remembering
from local_llm.text.remembering import RememberingTokenizer


class Counting:
    def __init__(self):
        self.asked = []

    def encode(self, text):
        self.asked.append(text)
        return [ord(character) for character in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def test_a_text_is_tokenized_once():
    library = Counting()
    tokenizer = RememberingTokenizer(library)
    first = tokenizer.encode("one")
    first.append(7)  # the caller's own
    assert tokenizer.encode("one") == [111, 110, 101]
    assert (tokenizer.decode([111]), library.asked) == ("o", ["one"])


def test_the_texts_that_came_last_are_kept(monkeypatch):
    monkeypatch.setattr(remembering, "KEPT", 8)
    library = Counting()
    tokenizer = RememberingTokenizer(library)
    tokenizer._room = 8
    for text in ("one", "two", "one", "six", "two", "nine chars", "six", "", "twelve.."):
        assert tokenizer.encode(text) == [ord(character) for character in text]
    assert library.asked == ["one", "two", "six", "two", "nine chars", "", "twelve.."]
    assert [*tokenizer._known] == ["", "twelve.."]
