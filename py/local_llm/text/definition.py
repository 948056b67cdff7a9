"""From a GGUF's metadata to the tokenizer.json that Hugging Face's library takes, for each kind of vocabulary.

Control tokens are no part of it: the library cannot produce them, whatever it is given. tokenizer.py finds them, in
texts of which the caller says that they may hold some.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from local_llm.errors import UnsupportedModel
from local_llm.formats.strings import Strings
from local_llm.text.gguf_vocabulary import model_of, read_flag, read_scores, read_texts, read_vocabulary, wrong
from local_llm.text.merges import checked_merges, scored_merges
from local_llm.text.pretokenizers import byte_level
from local_llm.text.table import Hasher, Known, Span, batches, first_of_equal, packed, rows, stretches, twice
from local_llm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary

MOST = 32 << 20  # bytes of a tokenizer.json as it is made here
_MOST_TABLE = 2 << 20  # bytes of a table of characters; XLM-R's has 237,539
_AT_ONCE = 1 << 16  # tokens: arrays of all would take as much memory as their texts
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
) -> Generator[bytes, None, None]:
    """That text in parts, some of them empty, each made in some milliseconds but for one where scores are sorted.

    vocabulary: the metadata's, where it has been read already. Raises UnsupportedModel or CorruptModel, which mention
    `name`.
    """
    vocabulary = vocabulary or read_vocabulary(name, metadata)
    model = model_of(name, metadata)
    tokens = packed(name, vocabulary.tokens)
    yield b""
    hasher = Hasher()
    hashes = hasher.all(tokens)
    yield b""
    words = _Words(name, metadata, vocabulary, tokens, hasher, hashes, twice(hashes))
    yield b""
    yield from limited(name, _MAKERS.get(model, _sentence_piece)(words))


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
    head: Mapping[str, Any], model: Mapping[str, Any], vocab: Iterable[bytes], merges: Iterable[bytes] | None
) -> Iterator[bytes]:
    """The JSON, written piece by piece. vocab: `,"text":id`; merges: `,"left right"`; any number in each piece."""
    yield json.dumps(head).encode()[:-1] + b',"model":' + json.dumps(model).encode()[:-1] + b',"vocab":{'
    yield from inside(vocab)
    yield b"}"
    if merges is not None:
        yield b',"merges":['
        yield from inside(merges)
        yield b"]"
    yield b"}}"


def inside(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces that each begin with a comma or are empty, without the very first comma."""
    begun = False
    for piece in pieces:
        yield piece if begun else piece[1:]
        begun = begun or bool(piece)


def vocab_rows(tokens: Strings, places: np.ndarray, ids: np.ndarray | None = None) -> Iterator[bytes]:
    """`,"text":id` of the texts at these places. ids: by place, where they are others than the places."""
    for begin in range(0, len(places), _AT_ONCE):
        many = places[begin : begin + _AT_ONCE]
        for first, last in stretches(np.cumsum(Span.of(tokens, many).lengths)):
            some = many[first:last]
            numbers = Span.of_numbers(some if ids is None else ids[some])
            yield rows(len(some), b',"', Span.of(tokens, some), b'":', numbers)


def limited(name: str, parts: Iterable[bytes]) -> Generator[bytes, None, Any]:
    """parts, and what they return. Raises UnsupportedModel where they are more than MOST in all."""
    total = 0
    steps = iter(parts)
    while True:
        try:
            part = next(steps)
        except StopIteration as ended:
            return ended.value
        total += len(part)
        if total > MOST:
            raise UnsupportedModel(
                f"{name}: expected a tokenizer of at most {MOST >> 20} MiB, written as JSON, found more.",
                remedy="Use another copy of the model: real vocabularies take half of that.",
            )
        yield part


def bpe(**changes: Any) -> dict[str, Any]:
    """The model part of a BPE, without vocabulary and merges."""
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    return model | {"end_of_word_suffix": None, "fuse_unk": False} | changes


def _spelled(vocabulary: Vocabulary, token: int) -> str:
    """A user-defined token as it stands in texts."""
    return vocabulary.tokens[token].replace("\u2581", " ")


@dataclass(frozen=True)
class _Words:
    """A vocabulary with what finds its texts. hashes: uint64 [V]; doubtful: those of texts that are there twice."""

    name: str
    metadata: Mapping[str, Any]
    vocabulary: Vocabulary
    tokens: Strings
    hasher: Hasher
    hashes: np.ndarray
    doubtful: Known

    def of(self, *kinds: int) -> np.ndarray:
        """Ids of these kinds; of equal texts the first."""
        return self.firsts(self.vocabulary.ids_of(*kinds))

    def firsts(self, *ids: np.ndarray) -> np.ndarray:
        """All these ids; of equal texts the first."""
        return first_of_equal(self.hashes, np.concatenate(ids), self.doubtful)

    def merges(self, known: np.ndarray) -> Iterator[bytes]:
        """The file's own, of the tokens `known`."""
        hidden = self.vocabulary.ids_of(CONTROL, UNKNOWN, UNUSED)
        found = read_texts(self.name, self.metadata, "merges")
        return checked_merges(found, self.hasher, Known(self.hashes[known]), Known(self.hashes[hidden]), self.name)


def _byte_level(words: _Words) -> Iterator[bytes]:
    vocabulary = words.vocabulary
    pre = byte_level(str(words.metadata.get("tokenizer.ggml.pre", "default")))
    every = words.firsts(np.arange(len(words.hashes)))
    hidden = Known(words.hashes[vocabulary.ids_of(CONTROL, UNKNOWN, UNUSED)])
    known = every[~hidden.has(words.hashes[every])]
    added = (added_token(token, vocabulary.tokens[token]) for token in vocabulary.of_types(USER_DEFINED))
    normalizer = {"type": "NFC"} if pre.nfc else None
    model = bpe(ignore_merges=True) if pre.whole_words else bpe()
    top = head(added, normalizer, pre.json(), _BYTE_LEVEL_DECODER)
    return assemble(top, model, vocab_rows(words.tokens, known), words.merges(known))


def _sentence_piece(words: _Words) -> Iterator[bytes]:
    vocabulary, metadata = words.vocabulary, words.metadata
    merging = words.of(NORMAL)
    if metadata.get("tokenizer.ggml.merges") is not None:
        merges = words.merges(np.concatenate([merging, words.of(USER_DEFINED)]))
    else:
        scores = read_scores(words.name, metadata, len(vocabulary.tokens))
        merges = scored_merges(words.tokens, merging, words.hashes, words.hasher, scores, words.name)
    defined = {_spelled(vocabulary, token): token for token in vocabulary.of_types(USER_DEFINED)}
    unknown = words.of(UNKNOWN)
    rules = [*_SINGLE_SPACES] if metadata.get("tokenizer.ggml.remove_extra_whitespaces") is True else []
    if vocabulary.prefixed:
        rules.append(_PREFIX)
    # Runs of spaces are found where people type the mark itself, too; with a prefix the library would look for "▁▁▁".
    added = (added_token(token, text) | {"normalized": not vocabulary.prefixed} for text, token in defined.items())
    top = head(added, {"type": "Sequence", "normalizers": [*rules, _SPACE_TO_MARK]}, None, None)
    name = vocabulary.tokens[int(unknown[0])] if len(unknown) else None
    model = bpe(unk_token=name, fuse_unk=True, byte_fallback=True)
    # Of equal texts the id of the last kind counts.
    every = words.firsts(unknown, words.of(BYTE), merging)
    apart = Strings.of(defined)
    rest = every[~Known(words.hasher.all(apart)).has(words.hashes[every])]
    own = vocab_rows(apart, np.arange(len(apart)), np.array(list(defined.values()), np.intp))
    return assemble(top, model, chain(vocab_rows(words.tokens, rest), own), merges)


def _unigram(words: _Words) -> Iterator[bytes]:
    vocabulary = words.vocabulary
    scores = read_scores(words.name, words.metadata, len(vocabulary.tokens))
    rules = [*_SINGLE_SPACES, _SPACE_TO_MARK, _replace("\u2581+\\z", ""), _PREFIX]
    table = words.metadata.get("tokenizer.ggml.precompiled_charsmap")
    if table is not None:
        raw = table if isinstance(table, np.ndarray) else np.array(None)
        if raw.ndim != 1 or raw.dtype.kind not in "iu" or raw.itemsize != 1 or raw.size > _MOST_TABLE:
            wanted = f"an array of bytes, at most {_MOST_TABLE}"
            raise wrong(words.name, "precompiled_charsmap", wanted, f"{type(table).__name__} {list(raw.shape)}")
        rules.insert(0, {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(raw.tobytes()).decode()})
    added = (added_token(token, _spelled(vocabulary, token)) for token in vocabulary.of_types(USER_DEFINED))
    unknown = vocabulary.ids_of(UNKNOWN)
    model = {"type": "Unigram", "unk_id": int(unknown[0]) if len(unknown) else None, "byte_fallback": False}
    top = head(added, {"type": "Sequence", "normalizers": rules}, None, None)
    yield json.dumps(top).encode()[:-1] + b',"model":' + json.dumps(model).encode()[:-1] + b',"vocab":['
    yield from inside(_scored(words, scores, first, last) for first, last in batches(words.tokens))
    yield b"]}}"


def _scored(words: _Words, scores: np.ndarray, first: int, last: int) -> bytes:
    """`,["text",score]` of these tokens, a place for each: the library numbers them itself."""
    texts = words.tokens.part(first, last)[:]
    types = words.vocabulary.types[first:last]
    for at in np.flatnonzero(np.isin(types, (CONTROL, UNKNOWN, UNUSED))).tolist():
        texts[at] = NEVER.format(first + at)
    for at in np.flatnonzero(types == USER_DEFINED).tolist():
        texts[at] = _spelled(words.vocabulary, first + at)
    made = json.dumps(list(zip(texts, scores[first:last].tolist(), strict=True)), separators=(",", ":"))
    return b"," + made[1:-1].encode()


def _word_piece(words: _Words) -> Iterator[bytes]:
    vocabulary, tokens = words.vocabulary, words.tokens
    known = words.of(NORMAL, USER_DEFINED)
    unknown = vocabulary.ids_of(UNKNOWN)[:1]
    capitals = np.flatnonzero((tokens.data >= ord("A")) & (tokens.data <= ord("Z")))
    cased = bool(np.isin(np.searchsorted(tokens.stops, capitals, "right"), known).any())
    lower = read_flag(words.name, words.metadata, "normalizer.lowercase", not cased)
    accents = read_flag(words.name, words.metadata, "normalizer.strip_accents", lower)  # BERT's own rule
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    normalizer |= {"strip_accents": accents, "lowercase": lower}
    model = {
        "type": "WordPiece",
        "unk_token": vocabulary.tokens[int(unknown[0])] if len(unknown) else "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    top = head((), normalizer, {"type": "BertPreTokenizer"}, {"type": "WordPiece", "prefix": "##", "cleanup": True})
    every = words.firsts(unknown, known)
    return assemble(top, model, vocab_rows(tokens, every), None)


_MAKERS = {"gpt2": _byte_level, "bert": _word_piece, "t5": _unigram}  # the others are SentencePiece's
