"""A tokenizer.json in parts: its vocabulary as arrays, its merges slice by slice, all else as Python has it.

Knows what JSON says where, and no meaning. As Python objects a vocabulary of 33 MB would take some 300.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from local_llm.formats.json_file import check_size
from local_llm.formats.json_slices import end_of, members, slices
from local_llm.formats.strings import Strings
from local_llm.text.merges import MOST
from local_llm.text.table import LONGEST, MOST_TEXT, Hasher, picked
from local_llm.text.vocabulary import MOST_TOKENS

_REST = 4 << 20  # bytes beside vocabulary and merges
Slices = list[tuple[int, int]]


@dataclass(frozen=True)
class TokenizerFile:
    """rest: the whole without model.vocab and model.merges, whose places in `raw` the slices tell.

    pieces: the vocabulary is a list of [text, score], else an object of ids. merges: None where there are none.
    """

    raw: bytes
    rest: dict[str, Any]
    pieces: bool
    vocab: Slices
    merges: Slices | None


def read_places(name: str, raw: bytes) -> Generator[bytes, None, TokenizerFile]:
    """Gives b"" now and then. Raises ValueError, and CorruptModel for a rest of too many values."""
    places = _Places({}, {}, {})
    yield from _walk(raw, len(raw) - len(raw.lstrip()), places, inner=False)
    every = [*places.whole.values(), *places.model.values()]
    if sum(stop - start for start, stop in every) > _REST:
        raise ValueError(f"more than {_REST} bytes beside vocabulary and merges")
    check_size(name, b" ".join(raw[start:stop] for start, stop in every))
    rest = {key: json.loads(raw[start:stop]) for key, (start, stop) in places.whole.items()}
    rest["model"] = {key: json.loads(raw[start:stop]) for key, (start, stop) in places.model.items()}
    start, vocab = places.large["vocab"]
    merges = places.large["merges"][1] if "merges" in places.large else None
    return TokenizerFile(raw, rest, raw[start : start + 1] == b"[", vocab, merges)


@dataclass(frozen=True)
class _Places:
    """The places of all members but `model`, of those of `model`, and of its two large ones: beginning and slices."""

    whole: dict[str, tuple[int, int]]
    model: dict[str, tuple[int, int]]
    large: dict[str, tuple[int, Slices]]


def _walk(raw: bytes, start: int, places: _Places, *, inner: bool) -> Generator[bytes, None, int]:
    """Finds the places in the object at `start`; returns where it ends. inner: that is `model`."""
    steps = members(raw, start)
    try:
        key, at = next(steps)
        while True:
            if key == "model" and not inner:
                places.model.clear()
                places.large.clear()
                stop = yield from _walk(raw, at, places, inner=True)
            elif inner and key in ("vocab", "merges"):
                found, stop = yield from slices(raw, at)
                places.large[key] = (at, found)
            else:
                stop = end_of(raw, at)
                (places.model if inner else places.whole)[key] = (at, stop)
            key, at = steps.send(stop)
    except StopIteration as ended:
        return ended.value


@dataclass(frozen=True)
class Listed:
    """A vocabulary as the file lists it. ids: int32 [n]; scores: float64 [n], none but for pieces."""

    texts: Strings
    ids: np.ndarray
    scores: np.ndarray

    def first(self, count: int) -> Listed:
        """The first `count`, without a copy."""
        return Listed(Strings(self.texts.data, self.texts.stops[:count]), self.ids[:count], self.scores[:count])


def read_listed(file: TokenizerFile) -> Iterator[Listed]:
    """A part of the vocabulary for each slice. Raises ValueError, TypeError."""
    count = nbytes = 0
    for start, stop in file.vocab:
        part = _pieces(file.raw[start:stop], count) if file.pieces else _ids(file.raw[start:stop])
        count += len(part.ids)
        if count > MOST_TOKENS:
            raise ValueError(f"more than {MOST_TOKENS} tokens")
        if int(np.diff(part.texts.stops, prepend=0).max(initial=0)) > LONGEST:
            raise ValueError(f"a token of more than {LONGEST} bytes")
        nbytes += len(part.texts.data)
        if nbytes > MOST_TEXT:
            raise ValueError(f"tokens of more than {MOST_TEXT >> 20} MiB in all")
        if int(part.ids.max(initial=0)) >= MOST_TOKENS or int(part.ids.min(initial=0)) < 0:
            raise ValueError(f"a token has the id {part.ids.max()}")
        yield replace(part, ids=part.ids.astype(np.int32))


def _ids(raw: bytes) -> Listed:
    found: dict[str, int] = json.loads(b"{" + raw + b"}")
    if not set(map(type, found.values())) <= {int}:
        raise TypeError("a token's id is no whole number")
    return Listed(Strings.of(found), np.fromiter(found.values(), np.int64, len(found)), np.empty(0))


def _pieces(raw: bytes, first: int) -> Listed:
    found: list[list[Any]] = json.loads(b"[" + raw + b"]")
    texts, scores = [text for text, _ in found], [score for _, score in found]
    if not set(map(type, texts)) <= {str} or not set(map(type, scores)) <= {int, float}:
        raise TypeError("a piece is no text with a score")
    return Listed(Strings.of(texts), np.arange(first, first + len(found)), np.array(scores, np.float64))


def joined(parts: Sequence[Listed]) -> Listed:
    """All in one."""
    lengths = [np.diff(part.texts.stops, prepend=np.int32(0)) for part in parts]
    stops = np.cumsum(np.concatenate([*lengths, np.empty(0, np.int32)]), dtype=np.int32)
    data = np.concatenate([*(part.texts.data for part in parts), np.empty(0, np.uint8)])
    ids = np.concatenate([*(part.ids for part in parts), np.empty(0, np.int32)])
    return Listed(Strings(data, stops), ids, np.concatenate([*(part.scores for part in parts), np.empty(0)]))


@dataclass(frozen=True)
class Table:
    """Texts by id, empty where there is none, and what finds them."""

    texts: Strings
    hasher: Hasher
    hashes: np.ndarray

    def id_of(self, text: str) -> int | None:
        """The first id that has this text."""
        if len(text) > LONGEST:
            return None
        found = np.flatnonzero(self.hashes == self.hasher.one(text))
        return int(found[0]) if len(found) else None


def listed_of(added: Mapping[int, str]) -> Listed:
    """Tokens that stand beside the vocabulary. Raises ValueError for ids beyond all measure, or too long a text."""
    if not all(0 <= token < MOST_TOKENS for token in added):
        raise ValueError(f"expected ids from 0 to {MOST_TOKENS - 1}")
    texts = Strings.of(added.values())
    if int(np.diff(texts.stops, prepend=0).max(initial=0)) > LONGEST:
        raise ValueError(f"a token of more than {LONGEST} bytes")
    return Listed(texts, np.array([*added], np.int32), np.empty(0))


def table_of(every: Listed) -> Generator[bytes, None, Table]:
    """The texts by id; later ones count more. Raises ValueError for no token."""
    if not len(every.ids):
        raise ValueError("expected at least one token")
    places = np.full(int(every.ids.max()) + 1, -1, np.int32)
    places[every.ids] = np.arange(len(every.ids), dtype=np.int32)
    yield b""
    texts = picked(every.texts, places)
    yield b""
    hasher = Hasher()
    return Table(texts, hasher, hasher.all(texts))


def merge_rows(file: TokenizerFile, hidden: set[str]) -> Iterator[bytes]:
    """`,merge` as JSON, without those that have or make a hidden token. Raises ValueError, TypeError."""
    prefix = file.rest["model"].get("continuing_subword_prefix") or ""
    count = 0
    for start, stop in file.merges or ():
        found: list[Any] = json.loads(b"[" + file.raw[start:stop] + b"]")
        count += len(found)
        if count > MOST:
            raise ValueError(f"more than {MOST} merges")
        written = set(map(type, found)) == {str}
        pairs = [merge.split(" ", 1) for merge in found] if written else found
        if not set(map(type, pairs)) <= {list} or not set(map(len, pairs)) <= {2}:
            raise ValueError("a merge is no pair")
        made = _made(pairs, prefix)
        if not (hidden.isdisjoint(made) and hidden.isdisjoint(chain.from_iterable(pairs))):
            kept = zip(found, pairs, made, strict=True)
            found = [merge for merge, pair, whole in kept if hidden.isdisjoint((*pair, whole))]
        rows = json.dumps(found, ensure_ascii=False, separators=(",", ":"))[1:-1]
        yield b"," + rows.encode("utf-8", "replace") if rows else b""


def _made(pairs: Sequence[Sequence[str]], prefix: str) -> list[str]:
    """What the merges make. The prefix of a part that goes on is cut off by its length alone: it must be there.

    Elsewhere the library cuts a character in two, and its own error about that ends the process.
    """
    if not prefix:
        return list(map("".join, pairs))
    if not all(right.startswith(prefix) for _, right in pairs):
        raise ValueError("a merge's second part is without the continuing_subword_prefix")
    return [left + right[len(prefix) :] for left, right in pairs]
