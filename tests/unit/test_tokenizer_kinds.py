"""A thousand texts in many scripts through every kind of vocabulary: ids equal those of the vocabularies' makers.

golden/make_tokenizers.py has made the vocabularies and the ids, with SentencePiece and Hugging Face's own classes.
"""

from __future__ import annotations

from functools import cache

import pytest

from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.definition import tokenizer_json
from local_llm.text.gguf_vocabulary import read_vocabulary
from local_llm.text.tokenizer import TextCodec
from tests.conftest import wait
from tests.unit.golden_tokenizers import golden, merges_of_scores, metadata_of
from tests.unit.texts import digest, texts

KINDS = list(golden())


@cache
def codec(kind: str) -> TextCodec:
    metadata = metadata_of(kind)
    return TextCodec(read_vocabulary(kind, metadata), wait(open_tokenizer(tokenizer_json(metadata, kind))))


def differing(kind: str, made: TextCodec) -> list[str]:
    """The texts whose ids are not the golden ones of kind."""
    strings, wanted = texts(), golden()[kind]["ids"]
    found = "".join(digest(made.encode(text, special=False)) for text in strings)
    return [text for n, text in enumerate(strings) if found[6 * n : 6 * n + 6] != wanted[6 * n : 6 * n + 6]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_texts_have_the_ids_of_the_makers_own_code(kind):
    differ = differing(kind, codec(kind))
    assert not differ, f"{kind}: {len(differ)} of 1000, for example {min(differ, key=len)!r}"


def test_merges_in_the_file_do_what_scores_do():
    """Gemma 4's files have merges; told by the scores of the golden vocabulary, the ids are the golden ones."""
    metadata = metadata_of("gemma")
    types, tokens = metadata["tokenizer.ggml.token_type"], metadata["tokenizer.ggml.tokens"]
    normal = {text: token for token, text in enumerate(tokens) if types[token] == 1}
    merges = merges_of_scores(normal, metadata.pop("tokenizer.ggml.scores"))
    metadata |= {"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.merges": merges, "tokenizer.ggml.bos_token_id": 1}
    made = TextCodec(read_vocabulary("gemma4", metadata), wait(open_tokenizer(tokenizer_json(metadata))))
    assert made.vocabulary.add_bos
    assert not differing("gemma", made)
