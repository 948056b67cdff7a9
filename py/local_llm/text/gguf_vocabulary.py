"""The vocabulary in a GGUF's metadata, checked. Knows no merges and no tokenizer library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.strings import Strings
from local_llm.formats.values import numbers_in
from local_llm.text.pretokenizers import byte_level
from local_llm.text.table import LONGEST, batches, packed
from local_llm.text.vocabulary import (
    BYTE,
    CONTROL,
    MOST_TOKENS,
    NORMAL,
    UNKNOWN,
    Spelling,
    Vocabulary,
    byte_types,
    check_apart,
    control_tokens,
    ends_of,
    settled_types,
)

# tokenizer.ggml.model → how its tokens are spelled
SPELLINGS: dict[str, Spelling] = {
    "gpt2": "bytes",
    "llama": "spaces",
    "gemma4": "spaces",
    "t5": "spaces",
    "bert": "words",
}
# Ids of llama.cpp where the file names none.
_DEFAULT_IDS = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2},
    "bert": {"bos": 101, "unknown": 100, "seperator": 102},
}
_ADDS_BOS = {"llama": True, "gemma4": True, "bert": True}


def model_of(name: str, metadata: Mapping[str, Any]) -> str:
    """tokenizer.ggml.model. Raises UnsupportedModel."""
    model = metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str):
        raise UnsupportedModel(f"{name} holds no tokenizer (tokenizer.ggml.model is missing).")
    if model not in SPELLINGS:
        raise UnsupportedModel(
            f"{name} has the tokenizer '{model[:60]}', which is not supported.",
            remedy=f"Supported: {', '.join(SPELLINGS)}.",
        )
    return model


def read_vocabulary(name: str, metadata: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a file called `name`. Raises UnsupportedModel or CorruptModel."""
    model = model_of(name, metadata)
    bos_rule = _ADDS_BOS.get(model, False)
    if model == "gpt2":
        bos_rule = byte_level(str(metadata.get("tokenizer.ggml.pre", "default"))).bos
    tokens = read_texts(name, metadata, "tokens")
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise wrong(
            name, "tokens", f"at least one token, at most {MOST_TOKENS}", str(len(tokens)) if tokens else "none"
        )
    ids = {
        key: _special(name, metadata, key, len(tokens), _DEFAULT_IDS.get(model, {}).get(key))
        for key in ("bos", "eos", "eot", "eom", "unknown", "cls", "seperator")
    }
    bos = ids["bos"] if ids["cls"] is None or model != "bert" else ids["cls"]
    types = _types(name, metadata, model, tokens, ids)
    control = control_tokens(tokens, types)
    add_bos = read_flag(name, metadata, "add_bos_token", bos_rule)
    add_end = read_flag(name, metadata, "add_eos_token", model == "t5") or read_flag(
        name, metadata, "add_sep_token", model == "bert"
    )
    eats = ()
    if str(metadata.get("general.architecture")) == "phi3" and model == "llama":
        # Phi 3's own files say this of each token; GGUF has no place for it.
        eats = (token for text, token in control.items() if text not in ("<unk>", "<s>", "<|endoftext|>"))
    if model == "bert":
        tokens = _words(tokens, types)
        _check_longest(name, "tokens", tokens)  # some are two bytes longer
    return Vocabulary(
        tokens,
        types,
        SPELLINGS[model],
        control,
        bos,
        ids["eos"],
        ids["seperator"] if model == "bert" else None,
        add_bos,
        add_end,
        ends_of(control, (ids["eos"], ids["eot"], ids["eom"])) if model != "bert" else frozenset(),
        frozenset(eats),
        prefixed=adds_prefix(metadata),
    )


def adds_prefix(metadata: Mapping[str, Any]) -> bool:
    """Whether a space goes before every stretch of text."""
    model = metadata.get("tokenizer.ggml.model")
    usual = model == "llama"
    return SPELLINGS.get(str(model)) == "spaces" and metadata.get("tokenizer.ggml.add_space_prefix", usual) is True


def _words(tokens: Strings, types: np.ndarray) -> Strings:
    """BERT's own spelling: GGUF has "▁" before words and nothing before what continues one."""
    made: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for first, last in batches(tokens):
        part = tokens.part(first, last)
        texts = []
        for text, kind in zip(part, types[first:last].tolist(), strict=True):
            plain = kind != NORMAL or (text.startswith("[") and text.endswith("]") and len(text) > 2)
            texts.append(text if plain else text[1:] if text.startswith("\u2581") else f"##{text}")
        spelled = Strings.of(texts)
        made.append(spelled.data)
        lengths.append(np.diff(spelled.stops, prepend=np.int32(0)))
    return Strings(np.concatenate(made), np.cumsum(np.concatenate(lengths), dtype=np.int32))


def read_texts(name: str, metadata: Mapping[str, Any], key: str) -> Strings:
    """An array of texts below tokenizer.ggml, packed. Raises CorruptModel, or UnsupportedModel for too many bytes."""
    found = metadata.get(f"tokenizer.ggml.{key}")
    if isinstance(found, str) or not isinstance(found, Sequence) or (len(found) and not isinstance(found[0], str)):
        raise wrong(name, key, "an array of texts", "nothing" if found is None else type(found).__name__)
    if isinstance(found, Strings):
        _check_longest(name, key, found)
    sound = packed(name, found)
    _check_longest(name, key, sound)  # a byte that is no character takes three now
    return sound


def _check_longest(name: str, key: str, texts: Strings) -> None:
    longest = int((texts.stops - texts.starts()).max(initial=0))
    if longest > LONGEST:
        raise wrong(name, key, f"an array of texts of at most {LONGEST} bytes", f"one of {longest}")


def read_scores(name: str, metadata: Mapping[str, Any], count: int) -> np.ndarray:
    """float32 [count]. Raises CorruptModel."""
    found = metadata.get("tokenizer.ggml.scores", ())
    scores = numbers_in(found)
    if scores is None or len(scores) != count or scores.dtype.kind not in "iuf" or not np.isfinite(scores).all():
        raise wrong(name, "scores", f"{count} finite numbers, one a token", _shape(found))
    return scores.astype(np.float32)


def _types(
    name: str, metadata: Mapping[str, Any], model: str, tokens: Sequence[str], ids: Mapping[str, int | None]
) -> np.ndarray:
    found = metadata.get("tokenizer.ggml.token_type")
    if found is None:
        types = np.full(len(tokens), NORMAL, np.int32)
        if SPELLINGS[model] == "spaces":
            types = byte_types(tokens, types)
        if model != "gpt2":
            types[[token for token in ids.values() if token is not None]] = CONTROL
    else:
        types = numbers_in(found)
        if types is None or len(types) != len(tokens) or types.dtype.kind not in "iu":
            raise wrong(name, "token_type", f"{len(tokens)} whole numbers, one a token", _shape(found))
        _check_apart(name, types)
        types = settled_types(tokens, types)
    if model in ("llama", "gemma4") and not (types == BYTE).any():
        types = byte_types(tokens, types)
    unknown = ids["unknown"]
    if unknown is not None and model != "gpt2":
        types[unknown] = UNKNOWN
    return types


def _shape(found: Any) -> str:
    """Of what ought to be numbers, for a message."""
    numbers = numbers_in(found)
    return type(found).__name__ if numbers is None else f"{numbers.dtype} {list(numbers.shape)}"


def _check_apart(name: str, types: np.ndarray) -> None:
    try:
        check_apart(types)
    except ValueError as error:
        raise wrong(name, "token_type", *str(error).split(", found ")) from None


def _special(name: str, metadata: Mapping[str, Any], key: str, count: int, default: int | None) -> int | None:
    found = metadata.get(f"tokenizer.ggml.{key}_token_id")
    if found is None:
        return default if default is not None and default < count else None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < count:
        raise wrong(name, f"{key}_token_id", f"an id below {count}", repr(found)[:60])
    return found


def read_flag(name: str, metadata: Mapping[str, Any], key: str, default: bool) -> bool:
    """A truth value below tokenizer.ggml. Raises CorruptModel."""
    found = metadata.get(f"tokenizer.ggml.{key}", default)
    if not isinstance(found, bool):
        raise wrong(name, key, "true or false", repr(found)[:60])
    return found


def wrong(name: str, key: str, wanted: str, found: str) -> CorruptModel:
    """The error for metadata below tokenizer.ggml that is not what it must be."""
    return CorruptModel(
        f"{name}: metadata 'tokenizer.ggml.{key}' must be {wanted}, found {found}.",
        remedy="Download the file again, or use another copy.",
    )
