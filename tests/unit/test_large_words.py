"""Hostile vocabularies of the largest size: memory stays under the file's size and a constant, and the end is soon."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.gguf import read_gguf
from local_llm.formats.strings import Strings
from local_llm.native.blobs import open_blobs
from local_llm.text.dialogue import Dialogue, open_dialogue
from local_llm.text.folder import TokenizerFiles
from local_llm.text.merges import MOST, scored_merges
from local_llm.text.table import LONGEST, Hasher, Known
from local_llm.text.vocabulary import MOST_TOKENS
from tests.conftest import wait
from tests.unit.fuzzing import BESIDE, bounded

MANY = 300_000
FEW = 50_000  # where Python has an object for each, which tracemalloc makes ten times slower


def texts(parts: list[bytes]) -> bytes:
    return struct.pack("<IQ", 8, len(parts)) + b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def gguf(model: bytes, tokens: list[bytes], kind: int = 1, **more: bytes) -> bytes:
    """A head with a vocabulary of one kind of token. more: arrays below tokenizer.ggml."""
    values = {
        b"model": struct.pack("<IQ", 8, len(model)) + model,
        b"pre": struct.pack("<IQ", 8, 5) + b"gpt-2",
        b"tokens": struct.pack("<I", 9) + texts(tokens),
        b"token_type": struct.pack("<IIQ", 9, 5, len(tokens)) + np.full(len(tokens), kind, "<i4").tobytes(),
        b"scores": struct.pack("<IIQ", 9, 6, len(tokens)) + np.zeros(len(tokens), "<f4").tobytes(),
        **{key.encode(): struct.pack("<I", 9) + value for key, value in more.items()},
    }
    keys = ((b"tokenizer.ggml." + key, value) for key, value in values.items())
    return (
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, len(values))
        + b"".join(struct.pack("<Q", len(key)) + key + value for key, value in keys)
    )


def arrays(*counts: int) -> bytes:
    return struct.pack("<IQ", 9, len(counts)) + b"".join(struct.pack("<IQ", 5, n) + bytes(4 * n) for n in counts)


def numbered(count: int = MANY) -> list[bytes]:
    return [b"%x" % number for number in range(count)]


NONE = texts([])
NO_CHARACTERS = b"\xff" * 22_000  # each becomes U+FFFD, of three bytes
UNEQUAL = texts([b""] * 2000 + [b"x" * 60_000])  # an array in which each has the size of the largest is half a GB
GGUF = {
    "many tokens": lambda: gguf(b"gpt2", numbered(), merges=texts([b"1 2"] * MANY)),
    "equal tokens": lambda: gguf(b"llama", [b"a"] * MANY),
    "numbers that are cut everywhere": lambda: gguf(b"llama", numbered()),
    "each longer than the one before": lambda: gguf(b"llama", [b"a" * n for n in range(4000)]),
    "control tokens": lambda: gguf(b"gpt2", numbered(), 3, merges=NONE),
    "user-defined tokens": lambda: gguf(b"llama", numbered(), 4),
    "long control tokens": lambda: gguf(b"gpt2", ["\U0001f600".encode() * 500 + b"%d" % n for n in range(9000)], 3),
    "bytes": lambda: gguf(b"llama", [b"<0x41>"] * MANY, 6),
    "unknown tokens": lambda: gguf(b"t5", numbered(FEW), 2),
    "zeros": lambda: gguf(b"t5", [b"\0" * 60] * 200_000),
    "no characters": lambda: gguf(b"t5", [b"\xff" * 60] * 200_000),
    "halves of characters": lambda: gguf(b"bert", [b"\xf0\x9f", b"\x98\x80"] * FEW),
    "long tokens": lambda: gguf(b"llama", [b"ab" * 32000] * 400),
    "too long tokens": lambda: gguf(b"llama", [b"ab" * (8 << 20)]),
    "long merges": lambda: gguf(b"gpt2", [b"a"], merges=texts([b"a " * (8 << 20)])),
    "texts in place of types": lambda: gguf(b"gpt2", [b"a"], merges=NONE, token_type=UNEQUAL),
    "texts in place of scores": lambda: gguf(b"llama", [b"a"], scores=UNEQUAL),
    "arrays in place of types": lambda: gguf(b"gpt2", [b"a", b"b"], merges=NONE, token_type=arrays(1, 2)),
    "arrays in place of scores": lambda: gguf(b"llama", [b"a", b"b"], scores=arrays(1, 2)),
    "a token of bytes that are none": lambda: gguf(b"gpt2", [b"a", NO_CHARACTERS], merges=NONE),
    "pieces of bytes that are none": lambda: gguf(b"llama", [b"a", b"b", b"c", NO_CHARACTERS]),
    "a merge of bytes that are none": lambda: gguf(b"gpt2", [b"a"], merges=texts([b"a " + NO_CHARACTERS])),
    "a word that grows": lambda: gguf(b"bert", [b"a", b"x" * LONGEST]),
}
SPREAD = b"," + b" " * 40


def vocab(inner: bytes, merges: bytes = b"[]", kind: bytes = b"BPE", more: bytes = b"") -> bytes:
    return b'{%s"model":{"type":"%s","vocab":%s,"merges":%s}}' % (more, kind, inner, merges)


JSON = {
    "many tokens": lambda: vocab(b"{" + b",".join(b'"%x":%d' % (n, n) for n in range(FEW)) + b"}"),
    "far apart": lambda: vocab(b'{"a":0,"b":524287}'),
    "much text": lambda: vocab(b"{" + b",".join(b'"%d%s":%d' % (n, b"y" * 60_000, 800 - n) for n in range(800)) + b"}"),
    "wide tokens": lambda: vocab("{{{}}}".format(",".join(f'"\U0001f600{n}":{n}' for n in range(FEW))).encode()),
    "escapes": lambda: vocab(b"{" + b",".join(b'"\\u0000%x":%d' % (n, n) for n in range(FEW)) + b"}"),
    "pieces": lambda: vocab(b"[" + SPREAD.join([b'["a",1e15]'] * FEW) + b"]", kind=b"Unigram"),
    "merges": lambda: vocab(b'{"a":0}', b"[" + b",".join([b'"a a"'] * (4 * FEW)) + b"]"),
    "pairs": lambda: vocab(b'{"a":0}', b"[" + b",".join([b'["a","a"]'] * (2 * FEW)) + b"]"),
    "merges that are lists": lambda: vocab(b'{"a":0}', b"[" + b",".join([b"[]"] * (8 * FEW)) + b"]"),
    "deep merges": lambda: vocab(b'{"a":0}', b"[" * FEW + b"]" * FEW),
    "a large rest": lambda: vocab(b'{"a":0}', more=b'"x":[' + b",".join([b"[]"] * (8 * FEW)) + b"],"),
    "a rest of many": lambda: vocab(b'{"a":0}', more=b'"x":[],' * (2 * FEW)),
    "a text without end": lambda: vocab(b'{"a":0,"' + b"\\\\" * (8 << 20)),
    "a long token": lambda: vocab(b'{"' + b"a" * (16 << 20) + b'":0}'),
    "added tokens": lambda: vocab(
        b'{"a":0}', more=b'"added_tokens":[%s],' % b",".join(b'{"id":%d,"content":"%d"}' % (n, n) for n in range(FEW))
    ),
}


async def nothing(definition: bytes) -> Any:
    """The library's own memory is not Python's."""


async def opened(data: bytes) -> Dialogue:
    return await open_dialogue("a.gguf", (await read_gguf(await open_blobs(data))).metadata, nothing)


@pytest.mark.parametrize("kind", GGUF)
def test_the_vocabulary_of_a_gguf_is_bounded(kind):
    data = GGUF[kind]()
    with bounded(len(data) + BESIDE):
        wait(opened(data))


@pytest.mark.parametrize(
    "kind", [kind for kind in GGUF if "bytes that are none" in kind or kind == "a word that grows"]
)
def test_a_text_that_is_too_long_once_it_is_sound_is_named(kind):
    with pytest.raises(CorruptModel, match=f"texts of at most {LONGEST} bytes, found one of 6"):
        wait(opened(GGUF[kind]()))


def test_a_gguf_has_no_more_merges_than_others():
    with pytest.raises(UnsupportedModel, match=f"more than {MOST} merges"):
        wait(opened(gguf(b"gpt2", [b"a", b"aa"], merges=texts([b"a a"] * (MOST + 1)))))


def test_the_text_of_a_tokenizer_file_is_bounded_as_a_ggufs_is():
    with pytest.raises(CorruptModel, match="more than 16 MiB in all"):
        wait(open_dialogue("folder", TokenizerFiles(JSON["much text"]()), nothing))


def test_a_message_does_not_write_out_arrays_of_arrays():
    """numpy takes milliseconds for each."""
    blobs = wait(open_blobs(gguf(b"gpt2", [b"a", b"b"], merges=NONE, token_type=arrays(1, 2))))
    assert str(wait(read_gguf(blobs)).metadata["tokenizer.ggml.token_type"]) == "an array of 2 arrays"


def test_a_quarter_of_the_most_tokens_takes_an_eighth_of_the_memory():
    """Not in the order of their ids, so that nothing can be shared. Batches take the same for any number."""
    count = MOST_TOKENS // 4
    data = vocab(b"{" + b",".join(b'"yyyyyyyyyyy%x":%d' % (n, count - 1 - n) for n in range(count)) + b"}")
    with bounded(BESIDE // 8 + (3 << 20)):
        wait(open_dialogue("folder", TokenizerFiles(data), nothing))


def test_hashes_of_the_most_tokens_are_found_in_a_moderate_table():
    hashes = np.random.default_rng(1).integers(0, 1 << 64, 2 * MOST_TOKENS, np.uint64)
    with bounded(32 << 20):
        known = Known(hashes[:MOST_TOKENS])
    assert known.has(hashes[:MOST_TOKENS]).all()
    assert not known.has(hashes[MOST_TOKENS:]).any()


def test_the_scores_of_the_most_tokens_are_ranked_in_little_memory():
    count, random = MOST_TOKENS, np.random.default_rng(1)
    tokens = Strings(np.full(count, ord("a"), np.uint8), np.arange(1, count + 1, dtype=np.int32))
    hashes, scores = random.integers(0, 1 << 64, count, np.uint64), random.random(count, np.float32)
    steps = scored_merges(tokens, np.arange(count), hashes, Hasher(), scores, "a.gguf")
    with bounded(32 << 20):
        assert [next(steps), next(steps)] == [b"", b""]


@pytest.mark.parametrize("kind", JSON)
def test_a_tokenizer_file_is_bounded(kind):
    data = JSON[kind]()  # in memory already
    with bounded(BESIDE):
        wait(open_dialogue("folder", TokenizerFiles(data), nothing))
