"""From a GGUF's metadata to the tokenizer.json that Hugging Face's library takes, for each kind of vocabulary.

Control tokens are no part of it: the library cannot produce them, whatever it is given. tokenizer.py finds them, in
texts of which the caller says that they may hold some.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from local_llm.text.gguf_vocabulary import model_of, read_flag, read_scores, read_texts, read_vocabulary, wrong
from local_llm.text.merges import checked_merges, merges_of_scores
from local_llm.text.pretokenizers import byte_level
from local_llm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary

_T = TypeVar("_T")
NEVER = "\U000f0000never{}"  # stands in a list of tokens where one must not be found
_BYTE_LEVEL_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
_SPACE_TO_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
_PREFIX = {"type": "Prepend", "prepend": "\u2581"}


def _replace(expression: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": expression}, "content": content}


_SINGLE_SPACES = [_replace(" {2,}", " "), _replace(r"\A | \z", "")]


def tokenizer_json(metadata: Mapping[str, Any], name: str = "the file", vocabulary: Vocabulary | None = None) -> bytes:
    """The text of a tokenizer.json, UTF-8: see tokenizer_parts."""
    return b"".join(tokenizer_parts(metadata, name, vocabulary))


def tokenizer_parts(
    metadata: Mapping[str, Any], name: str = "the file", vocabulary: Vocabulary | None = None
) -> Iterator[bytes]:
    """That text in parts, each made in some milliseconds but for the first of merges that scores tell.

    vocabulary: the metadata's, where it has been read already. Raises UnsupportedModel or CorruptModel, which mention
    `name`.
    """
    vocabulary = vocabulary or read_vocabulary(name, metadata)
    model = model_of(name, metadata)
    if model == "gpt2":
        return _byte_level(name, metadata, vocabulary)
    if model == "bert":
        return _word_piece(name, metadata, vocabulary)
    if model == "t5":
        return _unigram(name, metadata, vocabulary)
    return _sentence_piece(name, metadata, vocabulary)


def head(
    added: Iterable[Mapping[str, Any]],
    normalizer: Mapping[str, Any] | None,
    pre_tokenizer: Mapping[str, Any] | None,
    decoder: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Everything of a tokenizer.json but its model."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
    }


def added_token(token: int, content: str) -> dict[str, Any]:
    """A token that is found in texts before anything else."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": token, "content": content, **flags}


def assemble(
    head: Mapping[str, Any], model: Mapping[str, Any], vocab: Mapping[str, int], merges: Iterable[str]
) -> Iterator[bytes]:
    """The JSON, written piece by piece: as Python objects a vocabulary takes many times the memory of its text."""
    yield json.dumps(head).encode()[:-1] + b',"model":' + json.dumps(model).encode()[:-1] + b',"vocab":{'
    yield from _inside(dict(pairs) for pairs in _batches(vocab.items()))
    yield b"}"
    if model["type"] == "BPE":
        yield b',"merges":['
        yield from _inside(_batches(merges))
        yield b"]"
    yield b"}}"


def _inside(values: Iterable[Mapping[str, int] | list[str]]) -> Iterator[bytes]:
    """JSON of all of them in one, without its brackets."""
    comma = b""
    for value in values:
        yield comma + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]
        comma = b","


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Lists of moderate length: the library writes one at once, and none is large."""
    rest = iter(items)
    while batch := list(islice(rest, 4096)):
        yield batch


def bpe(**changes: Any) -> dict[str, Any]:
    """The model part of a BPE, without vocabulary and merges."""
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    return model | {"end_of_word_suffix": None, "fuse_unk": False} | changes


def _spelled(vocabulary: Vocabulary, token: int) -> str:
    """A user-defined token as it stands in texts."""
    return vocabulary.tokens[token].replace("\u2581", " ")


def _known(vocabulary: Vocabulary, *kinds: int) -> dict[str, int]:
    """Text → id of the tokens of these kinds; of equal texts the first counts."""
    known: dict[str, int] = {}
    for token in vocabulary.of_types(*kinds):
        known.setdefault(vocabulary.tokens[token], token)
    return known


def _hidden(vocabulary: Vocabulary) -> set[str]:
    return {vocabulary.tokens[token] for token in vocabulary.of_types(CONTROL, UNKNOWN, UNUSED)}


def _byte_level(name: str, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[bytes]:
    pre = byte_level(str(metadata.get("tokenizer.ggml.pre", "default")))
    hidden = _hidden(vocabulary)
    known = {text: token for text, token in _all(vocabulary).items() if text not in hidden}
    added = (added_token(token, vocabulary.tokens[token]) for token in vocabulary.of_types(USER_DEFINED))
    normalizer = {"type": "NFC"} if pre.nfc else None
    model = bpe(ignore_merges=True) if pre.whole_words else bpe()
    merges = checked_merges(read_texts(name, metadata, "merges"), known, hidden, name)
    return assemble(head(added, normalizer, pre.json(), _BYTE_LEVEL_DECODER), model, known, merges)


def _all(vocabulary: Vocabulary) -> dict[str, int]:
    every: dict[str, int] = {}
    for token, text in enumerate(vocabulary.tokens):
        every.setdefault(text, token)
    return every


def _sentence_piece(name: str, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[bytes]:
    merging = _known(vocabulary, NORMAL)
    if metadata.get("tokenizer.ggml.merges") is not None:
        known = merging | _known(vocabulary, USER_DEFINED)
        merges = checked_merges(read_texts(name, metadata, "merges"), known, _hidden(vocabulary), name)
    else:
        merges = merges_of_scores(merging, read_scores(name, metadata, len(vocabulary.tokens)))
    defined = {_spelled(vocabulary, token): token for token in vocabulary.of_types(USER_DEFINED)}
    unknown = _known(vocabulary, UNKNOWN)
    rules = [*_SINGLE_SPACES] if metadata.get("tokenizer.ggml.remove_extra_whitespaces") is True else []
    if vocabulary.prefixed:
        rules.append(_PREFIX)
    # Runs of spaces are found where people type the mark itself, too; with a prefix the library would look for "▁▁▁".
    added = (added_token(token, text) | {"normalized": not vocabulary.prefixed} for text, token in defined.items())
    top = head(added, {"type": "Sequence", "normalizers": [*rules, _SPACE_TO_MARK]}, None, None)
    model = bpe(unk_token=next(iter(unknown), None), fuse_unk=True, byte_fallback=True)
    return assemble(top, model, merging | _known(vocabulary, BYTE) | unknown | defined, merges)


def _unigram(name: str, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[bytes]:
    scores = read_scores(name, metadata, len(vocabulary.tokens)).tolist()
    texts = list(vocabulary.tokens)
    for token in vocabulary.of_types(CONTROL, UNKNOWN, UNUSED):
        texts[token] = NEVER.format(token)
    for token in vocabulary.of_types(USER_DEFINED):
        texts[token] = _spelled(vocabulary, token)
    rules = [*_SINGLE_SPACES, _SPACE_TO_MARK, _replace("\u2581+\\z", ""), _PREFIX]
    table = metadata.get("tokenizer.ggml.precompiled_charsmap")
    if table is not None:
        raw = table if isinstance(table, np.ndarray) else np.array(None)
        if raw.ndim != 1 or raw.dtype.kind not in "iu" or raw.itemsize != 1:
            raise wrong(name, "precompiled_charsmap", "an array of bytes", type(table).__name__)
        rules.insert(0, {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(raw.tobytes()).decode()})
    added = (added_token(token, texts[token]) for token in vocabulary.of_types(USER_DEFINED))
    unknown = vocabulary.of_types(UNKNOWN)
    model = {"type": "Unigram", "unk_id": unknown[0] if unknown else None, "byte_fallback": False}
    top = head(added, {"type": "Sequence", "normalizers": rules}, None, None)
    yield json.dumps(top | {"model": model | {"vocab": list(zip(texts, scores, strict=True))}}).encode()


def _word_piece(name: str, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[bytes]:
    known = _known(vocabulary, NORMAL, USER_DEFINED)
    unknown = vocabulary.of_types(UNKNOWN)
    cased = any("A" <= character <= "Z" for text in known for character in text)
    lower = read_flag(name, metadata, "normalizer.lowercase", not cased)
    accents = read_flag(name, metadata, "normalizer.strip_accents", lower)  # BERT's own rule
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    normalizer |= {"strip_accents": accents, "lowercase": lower}
    model = {
        "type": "WordPiece",
        "unk_token": vocabulary.tokens[unknown[0]] if unknown else "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    top = head((), normalizer, {"type": "BertPreTokenizer"}, {"type": "WordPiece", "prefix": "##", "cleanup": True})
    return assemble(top, model, known | {vocabulary.tokens[token]: token for token in unknown[:1]}, ())
