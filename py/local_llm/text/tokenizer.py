"""From a GGUF's metadata to a tokenizer.json for Hugging Face's library, and texts to ids through it.

Control tokens are no part of that JSON: the library cannot produce them, whatever it is given. They are found here,
in texts of which the caller says that they may hold some.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel
from local_llm.gpu.ports import Tokenizer
from local_llm.text.vocabulary import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary, read_merges, read_vocabulary

_quoted = json.encoder.encode_basestring  # json.dumps of one text, without its set-up


def tokenizer_json(metadata: Mapping[str, Any], name: str = "the file") -> bytes:
    """The text of a tokenizer.json, UTF-8. Raises UnsupportedModel or CorruptModel, which mention `name`."""
    vocabulary = read_vocabulary(name, metadata)
    head = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(token, vocabulary) for token in _of_types(vocabulary, USER_DEFINED)],
        "normalizer": {"type": "NFC"} if vocabulary.pre.nfc else None,
        "pre_tokenizer": vocabulary.pre.json(),
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    }
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": False}
    if vocabulary.pre.whole_words:
        model["ignore_merges"] = True
    # Written piece by piece: a vocabulary as Python objects takes many times the memory of its text.
    out = bytearray(json.dumps(head).encode()[:-1])
    out += b',"model":' + json.dumps(model).encode()[:-1] + b',"vocab":{'
    hidden = {vocabulary.tokens[token] for token in _of_types(vocabulary, CONTROL, UNKNOWN, UNUSED)}
    known = _write_vocabulary(out, vocabulary, hidden)
    out += b',"merges":['
    _write_merges(out, read_merges(name, metadata), known, hidden, name)
    return bytes(out + b"}}")


def _write_vocabulary(out: bytearray, vocabulary: Vocabulary, hidden: set[str]) -> set[str]:
    """Every token but the hidden ones; of equal tokens the first counts. Returns their texts."""
    known: set[str] = set()
    for token, text in enumerate(vocabulary.tokens):
        if text not in known and text not in hidden:
            known.add(text)
            out += f"{_quoted(text)}:{token},".encode()
    _close(out, b"}")
    return known


def _write_merges(out: bytearray, merges: Iterable[str], known: set[str], hidden: set[str], name: str) -> None:
    """Merges of known tokens into known tokens; what would make a hidden token is left out."""
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        if left in known and right in known and left + right in known:
            out += f"{_quoted(merge)},".encode()
        elif hidden.isdisjoint((left, right, left + right)):
            raise CorruptModel(
                f"{name}: merge {number} of tokenizer.ggml.merges must join two tokens into a third; "
                f"found {repr(merge)[:60]}, which is not of the vocabulary.",
                remedy="Download the file again, or use another copy.",
            )
    _close(out, b"]")


def _close(out: bytearray, bracket: bytes) -> None:
    if out.endswith(b","):
        del out[-1]
    out += bracket


def _of_types(vocabulary: Vocabulary, *kinds: int) -> Iterable[int]:
    return np.flatnonzero(np.isin(vocabulary.types, kinds)).tolist()


def _added(token: int, vocabulary: Vocabulary) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": token, "content": vocabulary.tokens[token], **flags}


class TextCodec:
    """Texts to ids and back, over the library's tokenizer."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        self.vocabulary = vocabulary
        self._tokenizer = tokenizer
        longest_first = sorted(vocabulary.control, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def encode(self, text: str, *, special: bool, mark: str = "") -> list[int]:
        """Ids of text. special: the control tokens in it count as such; else they are ordinary text.

        mark: a character to take out of what lies between control tokens (see shield.py). No BOS is added.
        """
        ids: list[int] = []
        at = 0
        for found in self._control.finditer(text) if special else ():
            ids += self._plain(text[at : found.start()], mark)
            ids.append(self.vocabulary.control[found[0]])
            at = found.end()
        return ids + self._plain(text[at:], mark)

    def encode_prompt(self, text: str, *, special: bool = True, mark: str = "") -> list[int]:
        """As `encode`, with BOS in front where the model wants one and the text does not begin with it."""
        ids = self.encode(text, special=special, mark=mark)
        bos = self.vocabulary.bos
        return [bos, *ids] if self.vocabulary.add_bos and bos is not None and ids[:1] != [bos] else ids

    def _plain(self, text: str, mark: str) -> list[int]:
        text = whole_characters(text.replace(mark, "") if mark else text)
        return self._tokenizer.encode(text) if text else []

    def token_bytes(self, token: int) -> bytes:
        """What a generated token adds to the answer, as UTF-8 bytes, perhaps half a character; control tokens: b""."""
        return self.vocabulary.token_bytes(token)

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
