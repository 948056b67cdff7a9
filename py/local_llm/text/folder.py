"""The tokenizer of a Hugging Face or MLC folder: its tokenizer.json as this package wants it, and its vocabulary.

Knows no GGUF and no template. Control tokens leave the JSON, as in definition.py, and so does what adds them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.strings import Strings
from local_llm.text.definition import NEVER, added_token, inside, limited, vocab_rows
from local_llm.text.table import Hasher, Known, batches
from local_llm.text.tokenizer_file import (
    Listed,
    Table,
    TokenizerFile,
    joined,
    listed_of,
    merge_rows,
    read_listed,
    read_places,
    table_of,
)
from local_llm.text.vocabulary import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Spelling,
    Vocabulary,
    byte_types,
    check_apart,
    control_tokens,
    ends_of,
    settled_types,
)

_MAX_GROWTH = 64  # times a text's length
_MAX_WORD = 500  # characters of a word whose every part is looked up; files say 100
# Nobody types this; texts that hold it lose it.
_JOINT = "\U000ffffd\U0010abcd\U000ffffd"


@dataclass(frozen=True)
class TokenizerFiles:
    """What a folder says of its tokenizer.

    tokenizer: tokenizer.json's bytes. config: tokenizer_config.json, parsed. chat_template: chat_template.jinja's text.
    conversation: "conv_template" of MLC's mlc-chat-config.json, parsed. stop_ids: more ids that end an answer, such as
    eos_token_id of generation_config.json.
    """

    tokenizer: bytes
    config: Mapping[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    conversation: Mapping[str, Any] | None = None
    stop_ids: tuple[int, ...] = ()


def read_folder(name: str, files: TokenizerFiles) -> tuple[Vocabulary, bytes]:
    """The vocabulary, and a tokenizer.json for the library. Raises CorruptModel or UnsupportedModel."""
    parts: list[bytes] = []
    steps = folder_parts(name, files)
    while True:
        try:
            parts.append(next(steps))
        except StopIteration as ended:
            return ended.value, b"".join(parts)


def folder_parts(name: str, files: TokenizerFiles) -> Generator[bytes, None, Vocabulary]:
    """That tokenizer.json in parts, some of them empty, each made in some milliseconds; returns the vocabulary."""
    try:
        file = yield from read_places(name, files.tokenizer)
        return (yield from limited(name, _read(name, file, files)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise CorruptModel(
            f"{name}: tokenizer.json is no tokenizer of Hugging Face's ({type(error).__name__}: {error!s:.80}).",
            remedy="Download the file again, or use another copy.",
        ) from None


def _read(name: str, file: TokenizerFile, files: TokenizerFiles) -> Generator[bytes, None, Vocabulary]:
    parsed = file.rest
    model = parsed["model"]
    merging = file.merges is not None
    kind = model.get("type") or ("BPE" if merging else "Unigram" if "unk_id" in model else "WordPiece")
    if kind not in ("BPE", "Unigram", "WordPiece"):
        raise UnsupportedModel(
            f"{name} has a tokenizer of type '{kind!s:.40}'.", remedy="BPE, Unigram and WordPiece work."
        )
    _check_growth([step for part in ("normalizer", "pre_tokenizer") for step in _steps(parsed.get(part))], model)
    if kind == "WordPiece":
        _check_words(model)
    added = {int(entry["id"]): entry for entry in parsed.get("added_tokens") or ()}
    more = listed_of({token: str(entry["content"]) for token, entry in added.items()})
    every = yield from _gathered(chain(read_listed(file), (more,)))
    listed = every.first(len(every.ids) - len(more.ids))
    table = yield from table_of(every)
    types = _types(table, model, kind, added)
    vocabulary = _vocabulary(parsed, files, table, types, kind, added)
    texts, hasher = table.texts, table.hasher
    del table, every  # 8 MiB of hashes that nobody asks any more
    yield from _definition(file, listed, texts, hasher, vocabulary, added)
    return vocabulary


def _gathered(parts: Iterator[Listed]) -> Generator[bytes, None, Listed]:
    """All parts in one."""
    found = []
    for part in parts:
        found.append(part)
        yield b""
    return joined(found)


def _vocabulary(
    parsed: Mapping[str, Any],
    files: TokenizerFiles,
    table: Table,
    types: np.ndarray,
    kind: str,
    added: Mapping[int, Mapping[str, Any]],
) -> Vocabulary:
    spelling: Spelling = "words" if kind == "WordPiece" else "bytes" if _has(parsed, "ByteLevel") else "spaces"
    control = control_tokens(table.texts, types)
    schemes = {_scheme(step) for name in ("normalizer", "pre_tokenizer") for step in _steps(parsed.get(name))}
    bos, eos, rules = _special(parsed, files.config, table)
    return Vocabulary(
        tokens=table.texts,
        types=types,
        spelling=spelling,
        control=control,
        bos=bos if rules.start is None else rules.start,
        eos=eos,
        sep=rules.end,
        add_bos=rules.add_bos,
        add_end=rules.add_end,
        ends=frozenset() if kind == "WordPiece" else ends_of(control, (eos, *files.stop_ids)),
        eats_after=frozenset(token for token in control.values() if added.get(token, {}).get("rstrip")),
        eats_before=frozenset(token for token in control.values() if added.get(token, {}).get("lstrip")),
        joint=_JOINT if "first" in schemes else "",
        prefixed=not schemes.isdisjoint(("first", "always")),
    )


def _types(table: Table, model: Mapping[str, Any], kind: str, added: Mapping[int, Any]) -> np.ndarray:
    texts = table.texts
    types = np.where(texts.stops > texts.starts(), NORMAL, UNUSED).astype(np.int32)
    if model.get("byte_fallback"):
        types = byte_types(texts, types)
    for token, entry in added.items():
        types[token] = CONTROL if entry.get("special") else USER_DEFINED
    check_apart(types)
    types = settled_types(texts, types)
    unknown = model.get("unk_id") if kind == "Unigram" else model.get("unk_token")
    if isinstance(unknown, str):
        unknown = table.id_of(unknown)
    if unknown is not None:
        if type(unknown) is not int or not 0 <= unknown < len(types):
            raise ValueError(f"its unknown token {unknown!r:.40} is none")
        types[unknown] = UNKNOWN
    return types


def _definition(
    file: TokenizerFile,
    listed: Listed,
    texts: Strings,
    hasher: Hasher,
    vocabulary: Vocabulary,
    added: Mapping[int, Mapping[str, Any]],
) -> Iterator[bytes]:
    hidden = {vocabulary.tokens[token] for token in vocabulary.of_types(CONTROL)}
    defined = {vocabulary.tokens[token]: token for token in vocabulary.of_types(USER_DEFINED)}
    left = [dict(added[token]) | {"special": False} for token in defined.values()]
    if vocabulary.joint:
        left.append(added_token(len(vocabulary.tokens), vocabulary.joint))
    top = {**file.rest, "added_tokens": left, "post_processor": None, "truncation": None, "padding": None}
    model = top.pop("model")
    if file.pieces:
        brackets, vocab = b"[]", _scored(texts, vocabulary.types, listed)
    else:
        hashes = hasher.all(listed.texts)
        kept = ~Known(hasher.all(Strings.of([*hidden, *defined]))).has(hashes)
        model = model | _unknown(file, model, hasher, hashes[kept], defined)
        del hashes
        ids = np.array(list(defined.values()), np.intp)
        apart = vocab_rows(Strings.of(defined), np.arange(len(ids)), ids)
        own = vocab_rows(listed.texts, np.flatnonzero(kept).astype(np.int32), listed.ids)
        brackets, vocab = b"{}", chain(own, apart)
    yield _json(top)[:-1] + b',"model":' + _json(model)[:-1] + (b"," if model else b"") + b'"vocab":' + brackets[:1]
    yield from inside(vocab)
    yield brackets[1:]
    if file.merges is not None:
        yield b',"merges":['
        yield from inside(merge_rows(file, hidden))
        yield b"]"
    yield b"}}"


def _unknown(
    file: TokenizerFile, model: Mapping[str, Any], hasher: Hasher, hashes: np.ndarray, defined: Container[str]
) -> dict[str, Any]:
    """A token for what is unknown must be one: the library tells only when it needs it."""
    unknown = model.get("unk_token")
    if unknown is None or unknown in defined or (hashes == hasher.one(str(unknown))).any():
        return {}
    if file.merges is None:
        raise ValueError(f"its unk_token {unknown!r:.40} is no token")
    return {"unk_token": None}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _scored(tokens: Strings, types: np.ndarray, listed: Listed) -> Iterator[bytes]:
    """`,["text",score]`, a place for every id: the library would close gaps."""
    for first, last in batches(tokens):
        texts = tokens.part(first, last)[:]
        for at in np.flatnonzero(np.isin(types[first:last], (CONTROL, UNKNOWN, UNUSED))).tolist():
            texts[at] = NEVER.format(first + at)
        scores = listed.scores[first:last].tolist()
        scores += [0.0] * (len(texts) - len(scores))
        yield b"," + _json(list(zip(texts, scores, strict=True)))[1:-1]


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A step of the JSON and those inside it."""
    if isinstance(part, Mapping):
        yield part
        for inner in ("pretokenizers", "normalizers", "decoders", "processors"):
            for step in part.get(inner) or ():
                yield from _steps(step)


def _check_growth(steps: Sequence[Mapping[str, Any]], model: Mapping[str, Any]) -> None:
    """A few steps that each make a text some times as long would fill the memory with a short one.

    So would what the model puts at the characters of a word: each of its bytes can become a token.
    """
    growth = 1
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        affix = model.get(name)
        if affix is not None and not isinstance(affix, str):
            raise TypeError(f"its {name} is no text")
        growth *= 1 + len((affix or "").encode("utf-8", "replace"))
    for step in steps:
        content, pattern = step.get("content"), step.get("pattern")
        if step.get("type") == "Replace" and isinstance(content, str):
            # Regular expressions may match nothing, at each place.
            growth *= max(1, len(content)) + (pattern == {"String": ""} or "Regex" in (pattern or ()))
        elif step.get("type") == "Prepend":
            growth *= 1 + len(step["prepend"])
        elif step.get("type") in ("ByteLevel", "Precompiled"):
            growth *= 2
        if growth > _MAX_GROWTH:
            break
    if growth > _MAX_GROWTH:
        raise ValueError("its steps make texts many times as long")


def _check_words(model: Mapping[str, Any]) -> None:
    """The library's time is the cube of a word's length, up to this one; longer words are unknown to it."""
    longest = model.get("max_input_chars_per_word", 0)
    if type(longest) is not int or not 0 <= longest <= _MAX_WORD:
        raise ValueError(f"expected words of 0 to {_MAX_WORD} characters, found {longest!r:.20}")


def _scheme(step: Mapping[str, Any]) -> str | None:
    """When a step puts a space before a text: "always", "first", "never"; None where it is of another kind."""
    if step.get("type") == "Prepend":
        return "always"
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme") or ("always" if step.get("add_prefix_space", True) else "never")
    return None


def _has(parsed: Mapping[str, Any], kind: str) -> bool:
    parts = (parsed.get("pre_tokenizer"), parsed.get("decoder"))
    return any(step.get("type") == kind for part in parts for step in _steps(part))


@dataclass(frozen=True)
class _Rules:
    """What the library would put around a text. start, end: ids of the template's own."""

    add_bos: bool
    add_end: bool
    start: int | None = None
    end: int | None = None


def _special(
    parsed: Mapping[str, Any], config: Mapping[str, Any], table: Table
) -> tuple[int | None, int | None, _Rules]:
    named = [_id(config.get(key), table) for key in ("bos_token", "eos_token")]
    start, end = (_checked(token, table.texts) for token in _around(parsed.get("post_processor")))
    adds_bos, adds_end = config.get("add_bos_token"), config.get("add_eos_token")
    if not isinstance(adds_bos, bool):
        llama = str(config.get("tokenizer_class", "")).startswith(("Llama", "Gemma", "CodeLlama"))
        adds_bos = start is not None or (llama and parsed.get("post_processor") is None)
    if not isinstance(adds_end, bool):
        adds_end = end is not None
    return named[0], named[1], _Rules(adds_bos, adds_end, start, end)


def _id(value: Any, table: Table) -> int | None:
    text = value.get("content") if isinstance(value, Mapping) else value
    return table.id_of(text) if isinstance(text, str) else None


def _checked(token: Any, tokens: Sequence[str]) -> int | None:
    if token is not None and (type(token) is not int or not 0 <= token < len(tokens)):
        raise ValueError(f"its post_processor writes {token!r:.40}, which is no token's id")
    return token


def _around(processor: Any) -> tuple[Any, Any]:
    """The ids that the post-processor puts before and after a text."""
    for step in _steps(processor):
        if step.get("type") == "TemplateProcessing":
            names = [next(iter(item.values()))["id"] if "SpecialToken" in item else None for item in step["single"]]
            ids = {name: entry["ids"][0] for name, entry in step["special_tokens"].items()}
            at = names.index(None)
            return (ids[names[0]] if at else None, ids[names[-1]] if names[-1] is not None else None)
        if step.get("type") in ("BertProcessing", "RobertaProcessing"):
            return step["cls"][1], step["sep"][1]
    return None, None
