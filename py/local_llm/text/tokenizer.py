"""Texts to ids and back, over the library's tokenizer and one vocabulary. Knows no template and no file format."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from local_llm.gpu.ports import Tokenizer
from local_llm.text.control import ControlTokens
from local_llm.text.vocabulary import Vocabulary

_KEPT = 4096  # tokens whose bytes are at hand


class TextCodec:
    """Control tokens are found here: the library does not know them."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        self.vocabulary = vocabulary
        self._tokenizer = tokenizer
        self.control = ControlTokens(vocabulary.control)
        self._token_bytes = lru_cache(_KEPT)(vocabulary.token_bytes)  # a text has few tokens that come often

    def encode(self, text: str, *, special: bool, mark: str = "") -> list[int]:
        """Ids of text. special: the control tokens in it count as such; else they are ordinary text.

        mark: a character to take out of what lies between control tokens (see shield.py). No BOS is added.
        """
        vocabulary = self.vocabulary
        ids: list[int] = []
        at = 0
        for place, found in self.control.find(text) if special else ():
            token = vocabulary.control[found]
            between = text[at:place]
            ids += self._plain(between.rstrip() if token in vocabulary.eats_before else between, mark, follows=at > 0)
            ids.append(token)
            at = place + len(found)
            while token in vocabulary.eats_after and text[at : at + 1].isspace():
                at += 1
        return ids + self._plain(text[at:], mark, follows=at > 0)

    def encode_prompt(self, text: str, *, special: bool = True, mark: str = "") -> list[int]:
        """As `encode`, with BOS in front where the model wants one and the text does not begin with it."""
        ids = self.encode(text, special=special, mark=mark)
        bos = self.vocabulary.bos
        return [bos, *ids] if self.vocabulary.add_bos and bos is not None and ids[:1] != [bos] else ids

    def encode_whole(self, text: str) -> list[int]:
        """Ids of a text that is to be understood, not continued: BOS and an end token as the model was trained."""
        vocabulary = self.vocabulary
        ids = self.encode(text, special=False)
        start = [vocabulary.bos] if vocabulary.add_bos and vocabulary.bos is not None else []
        end = vocabulary.eos if vocabulary.sep is None else vocabulary.sep
        return [*start, *ids, *([end] if vocabulary.add_end and end is not None else [])]

    def _plain(self, text: str, mark: str, *, follows: bool) -> list[int]:
        """follows: something stands before text."""
        text = whole_characters(text.replace(mark, "") if mark else text)
        joint = self.vocabulary.joint
        if joint:
            text = text.replace(joint, "")
        if not text:
            return []
        if joint and follows:
            return self._tokenizer.encode(joint + text)[1:]
        return self._tokenizer.encode(text)

    def token_bytes(self, token: int) -> bytes:
        """What a generated token adds to the answer, as UTF-8 bytes, perhaps half a character; control tokens: b""."""
        return self._token_bytes(token)

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of ids. special: with control tokens."""
        return b"".join(self.vocabulary.token_bytes(token, special=special) for token in ids).decode("utf-8", "replace")


def whole_characters(text: str) -> str:
    """text with lone surrogates, which JavaScript's strings may hold, replaced by U+FFFD, and pairs joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
