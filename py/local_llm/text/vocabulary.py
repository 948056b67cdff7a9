"""What is known of a vocabulary, wherever it came from: tokens, their kinds, the special ones, and their bytes.

Knows no file format, no merges, no template and no tokenizer library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from local_llm.formats.strings import Strings

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# How a token's text stands for bytes: GPT-2's byte alphabet; "▁" for a space; "##" for a word that goes on.
Spelling = Literal["bytes", "spaces", "words"]

# Names that end a turn or a text in the families we know; files often name only one of two as eos_token_id.
_ENDS = (
    *(
        "<|im_end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
    ),
    *("</s>", "<end_of_turn>", "<turn|>", "<eos>", "<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "[e~["),
    "<｜end▁of▁sentence｜>",
)
# What a person could forge a turn with counts as control, whatever the file says; of tools and thoughts a reader hears.
_CONTROL_LIKE = re.compile(r"<\|(?!.*(?:tool|think)).*\|>|<(?:start|end)_of_turn>|<\|?turn\|?>|<｜.*｜>")
_LONGEST = 512  # characters of a control token; real ones stay under 50
_CONTROL_TEXT = 1 << 20  # characters of all of them; Gemma 3's have 75,000
_BYTE_NAME = re.compile("<0x[0-9A-Fa-f]{2}>")
MOST_TOKENS = 1 << 19  # the largest vocabularies have half of that
MOST_APART = 1 << 14  # control tokens, and user-defined ones: what Python has an object for; Gemma 3 has 6,248


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id. types: int array [V]; control: text → id of tokens that only templates may write.

    ends: ids that end an answer. eats_after, eats_before: control tokens that swallow the white space beside them.
    joint: put before what follows a control token, for a library that treats the start of a text otherwise; its
    first id is dropped again. prefixed: a stretch of text begins with a space that nobody wrote.
    """

    tokens: Sequence[str]
    types: np.ndarray
    spelling: Spelling
    control: Mapping[str, int]
    bos: int | None = None
    eos: int | None = None
    sep: int | None = None
    add_bos: bool = False
    add_end: bool = False  # texts to be embedded end with sep, or else eos
    ends: frozenset[int] = frozenset()
    eats_after: frozenset[int] = frozenset()
    eats_before: frozenset[int] = frozenset()
    joint: str = ""
    prefixed: bool = False

    def text(self, token: int | None) -> str:
        """A special token as templates write it; "" for None."""
        return "" if token is None else self.tokens[token]

    def ids_of(self, *kinds: int) -> np.ndarray:
        """Ids of these kinds, ascending."""
        return np.flatnonzero(np.isin(self.types, kinds)).astype(np.int32)

    def of_types(self, *kinds: int) -> list[int]:
        """The same as a list, for kinds that are few: see MOST_APART."""
        return self.ids_of(*kinds).tolist()

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        """What the token stands for. Control tokens are empty unless special; so are ids outside the vocabulary."""
        if not 0 <= token < len(self.tokens):
            return b""
        text, kind = self.tokens[token], int(self.types[token])
        if kind in (CONTROL, UNKNOWN, UNUSED):
            return _utf8(text) if special else b""
        if kind == BYTE and _BYTE_NAME.fullmatch(text):
            return bytes([int(text[3:5], 16)])
        if kind == USER_DEFINED:
            return _utf8(text)
        if self.spelling == "spaces":
            return _utf8(text.replace("\u2581", " "))
        if self.spelling == "words":
            return _utf8(text[2:] if text.startswith("##") else f" {text}")
        try:
            return bytes([BYTE_OF[character] for character in text])
        except KeyError:  # a token that was added without the byte alphabet
            return _utf8(text)


def _utf8(text: str) -> bytes:
    """JSON can spell halves of characters, which are none."""
    return text.encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, each other byte for the next character from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    for byte in range(256):
        if chr(byte) not in alphabet:
            alphabet[chr(0x100 + len(alphabet) - len(printable))] = byte
    return alphabet


BYTE_OF: dict[str, int] = _byte_alphabet()


def check_apart(types: np.ndarray) -> None:
    """Raises ValueError for more than MOST_APART control tokens, or user-defined ones."""
    for kind, what in ((CONTROL, "control"), (USER_DEFINED, "user-defined")):
        if (count := int((types == kind).sum())) > MOST_APART:
            raise ValueError(f"at most {MOST_APART} {what} tokens, found {count}")


def settled_types(tokens: Sequence[str], types: np.ndarray) -> np.ndarray:
    """types, where tokens that look like control tokens but are called user-defined are control tokens."""
    settled = types.copy()
    for token in np.flatnonzero(types == USER_DEFINED).tolist():
        if _CONTROL_LIKE.fullmatch(tokens[token]):
            settled[token] = CONTROL
    return settled


def byte_types(tokens: Sequence[str], types: np.ndarray) -> np.ndarray:
    """types, where tokens spelled <0x00> to <0xFF> are bytes."""
    if isinstance(tokens, Strings):  # looks into those only that may be
        starts = tokens.starts()
        six = np.flatnonzero(tokens.stops - starts == 6)
        asked = six[tokens.data[starts[six]] == ord("<")].tolist()
    else:
        asked = range(len(tokens))
    found = [token for token in asked if _BYTE_NAME.fullmatch(tokens[token])]
    settled = types.copy()
    settled[found] = BYTE
    return settled


def control_tokens(tokens: Sequence[str], types: np.ndarray) -> dict[str, int]:
    """Text → id of the control tokens; of equal texts the first id counts.

    Endless ones are nobody's to write, nor are any once they are _CONTROL_TEXT characters in all.
    """
    control: dict[str, int] = {}
    room = _CONTROL_TEXT
    for token in np.flatnonzero(types == CONTROL).tolist():
        text = tokens[token]
        if 0 < len(text) <= min(_LONGEST, room) and text not in control:
            control[text] = token
            room -= len(text)
    return control


def ends_of(control: Mapping[str, int], named: Iterable[int | None]) -> frozenset[int]:
    """Ids that end an answer: those that the file names, and those of known names."""
    return frozenset(token for token in (*named, *map(control.get, _ENDS)) if token is not None)
