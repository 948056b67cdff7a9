"""The tokenizer of a Hugging Face or MLC folder: its tokenizer.json as this package wants it, and its vocabulary.

Knows no GGUF and no template. Control tokens leave the JSON, as in definition.py, and so does what adds them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.text.definition import NEVER, added_token
from local_llm.text.vocabulary import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Spelling,
    Vocabulary,
    byte_types,
    control_tokens,
    ends_of,
    settled_types,
)

_MAX_TOKENS = 1 << 22
_MAX_GROWTH = 64  # times a text's length
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
    try:
        parsed = json.loads(files.tokenizer)
        return _read(name, parsed, files)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise CorruptModel(
            f"{name}: tokenizer.json is no tokenizer of Hugging Face's ({type(error).__name__}: {error!s:.80}).",
            remedy="Download the file again, or use another copy.",
        ) from None


def _read(name: str, parsed: dict[str, Any], files: TokenizerFiles) -> tuple[Vocabulary, bytes]:
    model = parsed["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "Unigram" if "unk_id" in model else "WordPiece")
    if kind not in ("BPE", "Unigram", "WordPiece"):
        raise UnsupportedModel(
            f"{name} has a tokenizer of type '{kind!s:.40}'.", remedy="BPE, Unigram and WordPiece work."
        )
    _check_growth([step for part in ("normalizer", "pre_tokenizer") for step in _steps(parsed.get(part))])
    added = {int(entry["id"]): entry for entry in parsed.get("added_tokens") or ()}
    tokens = _tokens(model["vocab"], added)
    types = _types(tokens, model, kind, added)
    spelling: Spelling = "words" if kind == "WordPiece" else "bytes" if _has(parsed, "ByteLevel") else "spaces"
    control = control_tokens(tokens, types)
    schemes = {_scheme(step) for name in ("normalizer", "pre_tokenizer") for step in _steps(parsed.get(name))}
    bos, eos, rules = _special(parsed, files.config, tokens)
    vocabulary = Vocabulary(
        tokens=tokens,
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
    return vocabulary, _definition(parsed, vocabulary, added)


def _tokens(vocab: Any, added: Mapping[int, Mapping[str, Any]]) -> list[str]:
    by_id = (
        dict(enumerate(piece for piece, _ in vocab)) if isinstance(vocab, list) else {i: t for t, i in vocab.items()}
    )
    by_id |= {token: str(entry["content"]) for token, entry in added.items()}
    if max(by_id) >= _MAX_TOKENS:
        raise ValueError(f"a token has the id {max(by_id)}")
    return [str(by_id.get(token, "")) for token in range(1 + max(by_id))]


def _types(tokens: Sequence[str], model: Mapping[str, Any], kind: str, added: Mapping[int, Any]) -> np.ndarray:
    types = np.full(len(tokens), NORMAL, np.int32)
    types[[token for token, text in enumerate(tokens) if not text]] = UNUSED
    if model.get("byte_fallback"):
        types = byte_types(tokens, types)
    for token, entry in added.items():
        types[token] = CONTROL if entry.get("special") else USER_DEFINED
    types = settled_types(tokens, types)
    unknown = model.get("unk_id") if kind == "Unigram" else model.get("unk_token")
    if isinstance(unknown, str):
        unknown = tokens.index(unknown) if unknown in tokens else None
    if unknown is not None:
        if type(unknown) is not int or not 0 <= unknown < len(types):
            raise ValueError(f"its unknown token {unknown!r:.40} is none")
        types[unknown] = UNKNOWN
    return types


def _definition(parsed: Mapping[str, Any], vocabulary: Vocabulary, added: Mapping[int, Mapping[str, Any]]) -> bytes:
    hidden = {vocabulary.tokens[token] for token in vocabulary.of_types(CONTROL)}
    defined = {vocabulary.tokens[token]: token for token in vocabulary.of_types(USER_DEFINED)}
    model = dict(parsed["model"])
    if isinstance(model["vocab"], list):
        never = set(vocabulary.of_types(CONTROL, UNKNOWN, UNUSED))
        scores = [score for _, score in model["vocab"]]
        scores += [0.0] * (len(vocabulary.tokens) - len(scores))  # a place for every id: the library would close gaps
        texts = [NEVER.format(at) if at in never else text for at, text in enumerate(vocabulary.tokens)]
        model["vocab"] = list(zip(texts, scores, strict=True))
    else:
        model["vocab"] = {text: token for text, token in model["vocab"].items() if text not in hidden} | defined
        unknown = model.get("unk_token")
        if unknown is not None and unknown not in model["vocab"]:  # the library tells only when it needs that token
            if "merges" not in model:
                raise ValueError(f"its unk_token {unknown!r:.40} is no token")
            model["unk_token"] = None
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if hidden.isdisjoint(_parts(merge))]
    left = [dict(added[token]) | {"special": False} for token in defined.values()]
    if vocabulary.joint:
        left.append(added_token(len(vocabulary.tokens), vocabulary.joint))
    changes = {"added_tokens": left, "post_processor": None, "truncation": None, "padding": None, "model": model}
    return json.dumps({**parsed, **changes}, ensure_ascii=False).encode("utf-8", "replace")


def _parts(merge: str | Sequence[str]) -> tuple[str, str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right, left + right


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A step of the JSON and those inside it."""
    if isinstance(part, Mapping):
        yield part
        for inner in ("pretokenizers", "normalizers", "decoders", "processors"):
            for step in part.get(inner) or ():
                yield from _steps(step)


def _check_growth(steps: Sequence[Mapping[str, Any]]) -> None:
    """A few steps that each make a text some times as long would fill the memory with a short one."""
    growth = 1
    for step in steps:
        content, pattern = step.get("content"), step.get("pattern")
        if step.get("type") == "Replace" and isinstance(content, str):
            # Regular expressions may match nothing, at each place.
            growth *= max(1, len(content)) + (pattern == {"String": ""} or "Regex" in (pattern or ()))
        elif step.get("type") in ("ByteLevel", "Precompiled"):
            growth *= 2
        if growth > _MAX_GROWTH:
            raise ValueError("its steps make texts many times as long")


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
    parsed: Mapping[str, Any], config: Mapping[str, Any], tokens: Sequence[str]
) -> tuple[int | None, int | None, _Rules]:
    named = [_id(config.get(key), tokens) for key in ("bos_token", "eos_token")]
    start, end = (_checked(token, tokens) for token in _around(parsed.get("post_processor")))
    adds_bos, adds_end = config.get("add_bos_token"), config.get("add_eos_token")
    if not isinstance(adds_bos, bool):
        llama = str(config.get("tokenizer_class", "")).startswith(("Llama", "Gemma", "CodeLlama"))
        adds_bos = start is not None or (llama and parsed.get("post_processor") is None)
    if not isinstance(adds_end, bool):
        adds_end = end is not None
    return named[0], named[1], _Rules(adds_bos, adds_end, start, end)


def _id(value: Any, tokens: Sequence[str]) -> int | None:
    text = value.get("content") if isinstance(value, Mapping) else value
    return tokens.index(text) if isinstance(text, str) and text in tokens else None


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
