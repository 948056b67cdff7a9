"""The vocabulary in a GGUF's metadata, checked: tokens, their kinds, the special ones, and their bytes.

Knows no merges, no template and no tokenizer library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.text.pretokenizers import PreTokenizer, byte_level

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Names that end a turn or a text in the families we know; files often name only one of two as eos_token_id.
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "</s>")


@dataclass(frozen=True)
class Vocabulary:
    """Byte-level tokens by id. types: int array [V]; control: text → id of tokens that only templates may write."""

    tokens: Sequence[str]
    types: np.ndarray
    pre: PreTokenizer
    control: Mapping[str, int]
    bos: int | None
    eos: int | None
    add_bos: bool
    ends: frozenset[int]  # ids that end an answer

    def text(self, token: int | None) -> str:
        """A special token as templates write it; "" for None."""
        return "" if token is None else self.tokens[token]

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        """What the token stands for. Control tokens are empty unless special; so are ids outside the vocabulary."""
        if not 0 <= token < len(self.tokens):
            return b""
        text, kind = self.tokens[token], int(self.types[token])
        if kind in (CONTROL, UNKNOWN, UNUSED):
            return text.encode() if special else b""
        if kind == USER_DEFINED:
            return text.encode()
        try:
            return bytes([BYTE_OF[character] for character in text])
        except KeyError:  # a token that was added without the byte alphabet
            return text.encode()


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, each other byte for the next character from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    for byte in range(256):
        if chr(byte) not in alphabet:
            alphabet[chr(0x100 + len(alphabet) - len(printable))] = byte
    return alphabet


BYTE_OF: dict[str, int] = _byte_alphabet()


def read_vocabulary(name: str, metadata: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a file called `name`. Raises UnsupportedModel or CorruptModel."""
    model = metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str):
        raise UnsupportedModel(f"{name} holds no tokenizer (tokenizer.ggml.model is missing).")
    if model != "gpt2":  # "llama" (SentencePiece) and "bert" (WordPiece) will join here
        raise UnsupportedModel(
            f"{name} has the tokenizer '{model[:60]}'; only byte-level BPE ('gpt2') is supported.",
            remedy="Use a model with a byte-level BPE vocabulary, such as SmolLM2, Llama 3 or Qwen 2.5.",
        )
    pre = byte_level(str(metadata.get("tokenizer.ggml.pre", "default")))
    tokens = _texts(name, metadata, "tokens")
    if not len(tokens):
        raise _wrong(name, "tokens", "at least one token", "none")
    types = _types(name, metadata, len(tokens))
    control = {tokens[token]: token for token in map(int, np.flatnonzero(types == CONTROL)[::-1])}
    control.pop("", None)
    bos, eos = (_special(name, metadata, f"{end}_token_id", len(tokens)) for end in ("bos", "eos"))
    more = (_special(name, metadata, f"{end}_token_id", len(tokens)) for end in ("eot", "eom"))
    ends = {token for token in (eos, *more, *(control.get(text) for text in _ENDS)) if token is not None}
    add_bos = metadata.get("tokenizer.ggml.add_bos_token", pre.bos)
    if not isinstance(add_bos, bool):
        raise _wrong(name, "add_bos_token", "true or false", repr(add_bos)[:60])
    return Vocabulary(tokens, types, pre, control, bos, eos, add_bos, frozenset(ends))


def read_merges(name: str, metadata: Mapping[str, Any]) -> Sequence[str]:
    """Merges in order of rank, each "left right"."""
    return _texts(name, metadata, "merges")


def _texts(name: str, metadata: Mapping[str, Any], key: str) -> Sequence[str]:
    found = metadata.get(f"tokenizer.ggml.{key}")
    if isinstance(found, str) or not isinstance(found, Sequence) or (len(found) and not isinstance(found[0], str)):
        raise _wrong(name, key, "an array of texts", "nothing" if found is None else type(found).__name__)
    return found


def _types(name: str, metadata: Mapping[str, Any], count: int) -> np.ndarray:
    found = metadata.get("tokenizer.ggml.token_type")
    if found is None:
        return np.full(count, NORMAL, np.int32)
    types = np.asarray(found)
    if types.shape != (count,) or types.dtype.kind not in "iu":
        raise _wrong(name, "token_type", f"{count} whole numbers, one a token", f"{types.dtype} {list(types.shape)}")
    return types


def _special(name: str, metadata: Mapping[str, Any], key: str, count: int) -> int | None:
    found = metadata.get(f"tokenizer.ggml.{key}")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < count:
        raise _wrong(name, key, f"an id below {count}", repr(found)[:60])
    return found


def _wrong(name: str, key: str, wanted: str, found: str) -> CorruptModel:
    return CorruptModel(
        f"{name}: metadata 'tokenizer.ggml.{key}' must be {wanted}, found {found}.",
        remedy="Download the file again, or use another copy.",
    )
