"""Merges for the library's BPE: read from a file, or told from SentencePiece's scores. Knows no JSON file.

Both are generators that often give nothing: between two of their parts others may have their turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.strings import Strings
from local_llm.text.table import LONGEST, Hasher, Known, Span, batches, rows, stretches

MOST = 1 << 20  # merges; the largest vocabularies have half a million
_SLICES = 16  # that merges are put in order in
_RANK = 34  # a key's bits below the rank
_SPACE = ord(" ")


def checked_merges(merges: Strings, hasher: Hasher, known: Known, hidden: Known, name: str) -> Iterator[bytes]:
    """`,"left right"` of known tokens into known tokens, as JSON; what would make a hidden token is left out.

    merges: packed. Raises CorruptModel, which mentions the file's name, for any other; UnsupportedModel for more than
    MOST.
    """
    _check_count(len(merges), name)
    for first, last in batches(merges):
        part = merges.part(first, last)
        starts, stops, sums = part.starts(), part.stops, hasher.sums(part.data)
        spaces = np.append(np.flatnonzero(part.data == _SPACE), len(part.data))
        space = np.minimum(spaces[np.searchsorted(spaces, starts)], stops)
        right = np.minimum(space + 1, stops)
        left_hash, right_hash = hasher.between(sums, starts, space), hasher.between(sums, right, stops)
        pair = (left_hash, right_hash, left_hash + right_hash * hasher.powers[space - starts])
        sound = np.logical_and.reduce([known.has(one) for one in pair])
        wrong = np.flatnonzero(~sound & ~np.logical_or.reduce([hidden.has(one) for one in pair]))
        if len(wrong):
            raise CorruptModel(
                f"{name}: merge {first + wrong[0]} of tokenizer.ggml.merges must join two tokens into a third; "
                f"found {repr(part[int(wrong[0])])[:60]}, which is not of the vocabulary.",
                remedy="Download the file again, or use another copy.",
            )
        kept = np.flatnonzero(sound)
        yield rows(len(kept), b',"', Span.of(part, kept), b'"')


def _check_count(count: int, name: str) -> None:
    if count > MOST:
        raise UnsupportedModel(f"{name}: its vocabulary has more than {MOST} merges.", remedy="Use another model.")


def scored_merges(
    tokens: Strings, ids: np.ndarray, hashes: np.ndarray, hasher: Hasher, scores: np.ndarray, name: str
) -> Iterator[bytes]:
    """`,"left right"` in order of rank, as JSON. ids: the tokens that merge, no two alike; scores: float [V].

    tokens: packed; hashes: theirs. SentencePiece joins the pair whose whole has the best score, so every way to cut a
    token in two is a merge of that token's rank; of equal scores the longer left part goes first, as Hugging Face's
    own conversion has it. Raises UnsupportedModel for more than MOST.
    """
    merging = np.zeros(len(tokens), bool)
    merging[ids] = True
    merging &= tokens.stops > tokens.starts()
    if not merging.any():
        return
    known = Known(hashes[merging])
    yield b""
    different = np.unique(scores[merging])
    ranks = np.zeros(len(tokens), np.int32)
    for first, last in batches(tokens):  # the best score has the rank 0
        ranks[first:last] = len(different) - 1 - np.searchsorted(different, scores[first:last])
    ranks[~merging] = 0
    yield b""
    found: list[_Cuts] = []
    for first, last in batches(tokens):
        found.append(_cuts(tokens.part(first, last), merging[first:last], ranks[first:last], hasher, known, first))
        _check_count(sum(len(cuts.token) for cuts in found), name)
        yield b""
    token, cut, key = (np.concatenate([getattr(cuts, part) for cuts in found]) for part in ("token", "cut", "key"))
    del found
    step = -(-(int(ranks.max()) + 1) // _SLICES)
    for rank in range(0, int(ranks.max()) + 1, step):  # all at once would take a page a tenth of a second
        some = np.flatnonzero((key >= rank << _RANK) & (key < (rank + step) << _RANK))
        order = some[np.argsort(key[some], kind="stable")]
        lengths = Span.of(tokens, token[order]).lengths
        for first, last in stretches(np.cumsum(lengths)):
            yield _written(tokens, token[order[first:last]], cut[order[first:last]])


def _written(tokens: Strings, token: np.ndarray, cut: np.ndarray) -> bytes:
    whole = Span.of(tokens, token)
    left = Span(whole.data, whole.starts, cut)
    right = Span(whole.data, whole.starts + cut, whole.lengths - cut)
    return rows(len(token), b',"', left, b" ", right, b'"')


@dataclass(frozen=True)
class _Cuts:
    """Ways to cut tokens in two tokens: int32 id and bytes of the left part, and what they are ordered by, int64."""

    token: np.ndarray
    cut: np.ndarray
    key: np.ndarray


def _cuts(part: Strings, merging: np.ndarray, ranks: np.ndarray, hasher: Hasher, known: Known, first: int) -> _Cuts:
    """Those of one batch. A vocabulary of 262,144 tokens has over a million places to look at."""
    starts, stops, sums = part.starts(), part.stops, hasher.sums(part.data)
    begins = part.data & 0xC0 != 0x80  # a character
    token = np.repeat(np.arange(len(part)), stops - starts)
    places = np.flatnonzero(begins & merging[token])
    places = places[places > starts[token[places]]]
    token = token[places]
    tokens = known.has(hasher.between(sums, starts[token], places))
    places, token = places[tokens], token[tokens]
    tokens = known.has(hasher.between(sums, places, stops[token]))
    places, token = places[tokens], token[tokens]
    characters = np.concatenate([np.zeros(1, np.int64), np.cumsum(begins)])
    left = characters[places] - characters[starts[token]]
    right = characters[stops[token]] - characters[places]
    key = ranks[token].astype(np.int64) << _RANK | (LONGEST - left) << 17 | (LONGEST - right)
    return _Cuts((token + first).astype(np.int32), (places - starts[token]).astype(np.int32), key)
