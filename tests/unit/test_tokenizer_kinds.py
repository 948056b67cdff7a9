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
from tests.unit.golden_tokenizers import golden, metadata_of
from tests.unit.texts import digest, texts

KINDS = list(golden())


@cache
def codec(kind: str) -> TextCodec:
    metadata = metadata_of(kind)
    return TextCodec(read_vocabulary(kind, metadata), wait(open_tokenizer(tokenizer_json(metadata, kind))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_texts_have_the_ids_of_the_makers_own_code(kind):
    strings = texts()
    found = "".join(digest(codec(kind).encode(text, special=False)) for text in strings)
    wanted = golden()[kind]["ids"]
    differ = [text for n, text in enumerate(strings) if found[6 * n : 6 * n + 6] != wanted[6 * n : 6 * n + 6]]
    assert not differ, f"{kind}: {len(differ)} of {len(strings)}, for example {min(differ, key=len)!r}"
