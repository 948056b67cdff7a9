"""Merges for the library's BPE: read from a file, or told from SentencePiece's scores. Knows no JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from local_llm.errors import CorruptModel

_BASE = 0x9E3779B97F4A7C15  # any large odd number
_BATCH = 1 << 14  # tokens whose cuts are looked up at once: memory that a page's Python has taken it keeps


def checked_merges(merges: Iterable[str], known: Mapping[str, int], hidden: set[str], name: str) -> Iterator[str]:
    """ "left right" of known tokens into known tokens; what would make a hidden token is left out.

    Raises CorruptModel, which mentions the file's name, for any other.
    """
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        if left in known and right in known and left + right in known:
            yield merge
        elif hidden.isdisjoint((left, right, left + right)):
            raise CorruptModel(
                f"{name}: merge {number} of tokenizer.ggml.merges must join two tokens into a third; "
                f"found {repr(merge)[:60]}, which is not of the vocabulary.",
                remedy="Download the file again, or use another copy.",
            )


def merges_of_scores(known: Mapping[str, int], scores: np.ndarray) -> Iterator[str]:
    """ "left right" in order of rank. known: the tokens that merge; scores: float [V].

    SentencePiece joins the pair whose whole has the best score, so every way to cut a token in two is a merge of that
    token's rank; of equal scores the longer left part goes first, as Hugging Face's own conversion has it.
    """
    texts = [text for text in known if text]
    if not texts:
        return
    whole, cuts, lengths = _cuts_into_tokens(texts)
    ids = np.fromiter((known[text] for text in texts), np.intp, len(texts))
    order = np.lexsort((whole, cuts - lengths[whole], -cuts, -scores[ids][whole]))
    for number, cut in zip(whole[order].tolist(), cuts[order].tolist(), strict=True):
        text = texts[number]
        yield f"{text[:cut]} {text[cut:]}"


def _cuts_into_tokens(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token, cut) wherever both parts are tokens too, and the length of every token; all intp, 32 bits in the page.

    A vocabulary of 262,144 tokens has over a million cuts. They are looked up many at once, by hashes of their parts:
    a part from a to b of all texts in a row has the hash (sums[b] - sums[a]) / BASE**a, modulo 2**64. Two parts of one
    hash are as good as impossible; the library would refuse the merge that comes of it.
    """
    lengths = np.fromiter(map(len, texts), np.intp, len(texts))
    stops = np.cumsum(lengths)
    begins = stops - lengths
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    characters += np.uint64(1)
    characters *= _powers(_BASE, len(characters))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(characters)])
    inverse = _powers(pow(_BASE, -1, 1 << 64), len(sums))
    tokens = np.sort((sums[stops] - sums[begins]) * inverse[begins])
    found = []
    for first in range(0, len(texts), _BATCH):
        whole = np.repeat(np.arange(first, min(first + _BATCH, len(texts))), lengths[first : first + _BATCH] - 1)
        cuts = np.arange(1, len(whole) + 1)
        cuts -= np.searchsorted(whole, whole)
        starts, middles, ends = begins[whole], begins[whole] + cuts, stops[whole]
        left = np.flatnonzero(_among((sums[middles] - sums[starts]) * inverse[starts], tokens))
        middles, ends = middles[left], ends[left]
        both = left[_among((sums[ends] - sums[middles]) * inverse[middles], tokens)]
        found.append((whole[both], cuts[both]))
    return np.concatenate([whole for whole, _ in found]), np.concatenate([cuts for _, cuts in found]), lengths


def _powers(base: int, count: int) -> np.ndarray:
    """1, base, base**2, … modulo 2**64."""
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def _among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which values occur in the sorted array."""
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return ordered[at] == values
