"""Merges for the library's BPE: read from a file, or told from SentencePiece's scores. Knows no JSON."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from local_llm.errors import CorruptModel


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
    texts = list(known)
    whole, cuts = array("i"), array("i")
    for at, text in enumerate(texts):
        for cut in range(1, len(text)):
            if text[:cut] in known and text[cut:] in known:
                whole.append(at)
                cuts.append(cut)
    if not whole:
        return
    at, lefts = np.asarray(whole), np.asarray(cuts)
    rank = -scores[np.fromiter(known.values(), np.int64, len(texts))]
    lengths = np.fromiter(map(len, texts), np.int32, len(texts))
    order = np.lexsort((at, lefts - lengths[at], -lefts, rank[at]))
    for number, cut in zip(at[order].tolist(), lefts[order].tolist(), strict=True):
        text = texts[number]
        yield f"{text[:cut]} {text[cut:]}"
