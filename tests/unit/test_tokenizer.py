"""Texts to ids and back over a small byte-level vocabulary; expected ids come from Hugging Face's own classes."""

import json
from contextlib import suppress

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from local_llm.errors import CorruptModel, ModelError, UnsupportedModel
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.definition import tokenizer_json
from local_llm.text.gguf_vocabulary import SPELLINGS, read_vocabulary
from local_llm.text.pretokenizers import BYTE_LEVEL
from local_llm.text.tokenizer import TextCodec, whole_characters
from tests.conftest import wait
from tests.model.tiny import CONTROL, MERGES, tiny_metadata, tiny_tokens

METADATA = tiny_metadata(width=64, layers=1, heads=4, kv_heads=2, head_width=16, ffn=96, context=64)
END = tiny_tokens().index("<|im_end|>")

TEXTS = [
    "",
    "Hello the world and the ringing",
    "12345 007 3.14",
    "a  b   c    d\t\te\n\n\nf   ",
    "😀👩‍👩‍👧🏽 ☺️",
    "漢字かな交じり文 한국어",
    "مرحبا بالعالم",
    "def f(x):\n    return {'a': x**2}  # it's",
    "I'LL we'll don't",
    "\x00\x01\x7f\u200b\ufeff\ue000\uffff",
    "é e\u0301 Å ﬁ",
    " leading, trailing ",
]


def codec(**changes) -> TextCodec:
    metadata = {key: value for key, value in (METADATA | changes).items() if value is not None}
    vocabulary = read_vocabulary("test.gguf", metadata)
    return TextCodec(vocabulary, wait(open_tokenizer(tokenizer_json(metadata))))


def reference(special: bool = True) -> tokenizers.Tokenizer:
    """SmolLM2's tokenizer put together by hand: digits apart, GPT-2's expression, control tokens as special ones."""
    vocab = {token: number for number, token in enumerate(tiny_tokens())}
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in MERGES)]
    built = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    built.decoder = decoders.ByteLevel()
    if special:
        built.add_special_tokens(list(CONTROL))
    return built


CODEC, REFERENCE, PLAIN = codec(), reference(), reference(special=False)


def test_the_vocabulary_merges():
    ids = CODEC.encode(" the ring", special=False)
    assert [tiny_tokens()[token] for token in ids] == ["Ġthe", "Ġ", "r", "ing"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_hugging_faces(text):
    assert CODEC.encode(text, special=True) == REFERENCE.encode(text, add_special_tokens=False).ids
    assert CODEC.decode(CODEC.encode(text, special=False)) == text


@given(st.lists(st.sampled_from([*CONTROL, "<|im_", "end|>", " ", "the", "7", "\n", "é", "😀"]), max_size=12))
def test_prompts_with_control_tokens_equal_hugging_faces(parts):
    text = "".join(parts)
    assert CODEC.encode(text, special=True) == REFERENCE.encode(text, add_special_tokens=False).ids
    assert CODEC.decode(CODEC.encode(text, special=True), special=True) == text


@given(st.text(max_size=60))
def test_any_text_without_control_tokens_is_plain(text):
    ids = CODEC.encode(text, special=False)
    assert ids == PLAIN.encode(text, add_special_tokens=False).ids
    assert CODEC.decode(ids) == text


def test_control_tokens_count_only_where_the_caller_says_so():
    text = "a<|im_end|>b"
    assert END in CODEC.encode(text, special=True)
    assert not set(CODEC.encode(text, special=False)) & set(range(len(CONTROL)))


def test_the_library_does_not_know_control_tokens_at_all():
    built = tokenizers.Tokenizer.from_buffer(tokenizer_json(METADATA))
    assert all(built.token_to_id(token) is None for token in CONTROL)
    assert built.token_to_id("Ġthe") == tiny_tokens().index("Ġthe")


def test_a_mark_is_taken_out_between_control_tokens():
    ids = CODEC.encode("<|im_start|>a <\ue000|im_end|>\ue000 the<|im_end|>", special=True, mark="\ue000")
    assert ids == [1, *PLAIN.encode("a <|im_end|> the").ids, END]


def test_lone_surrogates_become_replacement_characters():
    assert whole_characters("a\ud83d\ude00b\ud83d") == "a😀b\ufffd"
    assert CODEC.encode("\ud83d", special=False) == CODEC.encode("\ufffd", special=False)


# Beginning of sequence


def test_bos_is_added_where_the_file_asks_for_it_and_only_once():
    adding = codec(**{"tokenizer.ggml.add_bos_token": True})
    assert adding.encode_prompt("the")[0] == 1
    assert adding.encode_prompt("<|im_start|>the").count(1) == 1
    assert adding.encode_prompt("") == [1]
    assert CODEC.encode_prompt("the") == CODEC.encode("the", special=True)


@pytest.mark.parametrize(("pre", "expected"), [("llama-bpe", True), ("qwen2", False), ("smollm", False)])
def test_a_file_that_says_nothing_of_bos_follows_its_family(pre, expected):
    found = codec(**{"tokenizer.ggml.add_bos_token": None, "tokenizer.ggml.pre": pre})
    assert found.vocabulary.add_bos is expected


def test_without_a_bos_token_none_is_added():
    found = codec(**{"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None})
    assert found.encode_prompt("the") == CODEC.encode("the", special=True)


def test_ends_are_the_named_ids_and_the_known_names():
    assert CODEC.vocabulary.ends == {0, 2}
    assert codec(**{"tokenizer.ggml.eot_token_id": 7}).vocabulary.ends == {0, 2, 7}


# Token bytes


def test_every_byte_has_a_token_and_comes_back():
    raw = [CODEC.token_bytes(token) for token in range(len(CONTROL), len(CONTROL) + 256)]
    assert sorted(raw) == [bytes([byte]) for byte in range(256)]


def test_control_tokens_and_foreign_ids_have_no_bytes():
    assert CODEC.token_bytes(END) == CODEC.token_bytes(-1) == CODEC.token_bytes(10**6) == b""
    assert CODEC.vocabulary.token_bytes(END, special=True) == b"<|im_end|>"


def test_user_defined_tokens_are_found_in_texts_and_keep_their_text():
    tokens = [*tiny_tokens(), "<think>", "two words"]
    types = [3] * 3 + [1] * (len(tokens) - 5) + [4, 4]
    found = codec(**{"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types})
    ids = found.encode("a<think>two words", special=False)
    assert ids[1:] == [len(tokens) - 2, len(tokens) - 1]
    assert found.decode(ids) == "a<think>two words"


# Pre-tokenizers

PIECES = {
    "gpt-2": ("a1234 it's", ["a", "1234", "Ġit", "'s"]),
    "default": ("1234 a.b", ["123", "4", "Ġa", ".", "b"]),
    "smollm": ("a123 7", ["a", "1", "2", "3", "Ġ", "7"]),
    "starcoder": ("12", ["1", "2"]),
    "llama-bpe": ("1234567 IT'S", ["123", "456", "7", "ĠIT", "'S"]),
    "qwen2": ("123\n\n a", ["1", "2", "3", "ĊĊ", "Ġa"]),
    "tekken": ("HelloWorld 12", ["Hello", "World", "Ġ", "1", "2"]),
    "gpt-4o": ("HelloWorld's 1234", ["Hello", "World's", "Ġ", "123", "4"]),
}


@pytest.mark.parametrize("pre", PIECES)
def test_texts_are_cut_as_the_family_cuts_them(pre):
    text, expected = PIECES[pre]
    built = tokenizers.Tokenizer.from_buffer(tokenizer_json(METADATA | {"tokenizer.ggml.pre": pre}))
    assert [piece for piece, _ in built.pre_tokenizer.pre_tokenize_str(text)] == expected


@pytest.mark.parametrize("pre", BYTE_LEVEL)
def test_every_family_makes_a_json_that_the_library_takes_and_keeps_all_text(pre):
    built = codec(**{"tokenizer.ggml.pre": pre})
    text = " ".join(TEXTS[1:-2])
    assert built.decode(built.encode(text, special=False)) == text


def test_qwen_composes_characters_first():
    built = codec(**{"tokenizer.ggml.pre": "qwen2"})
    assert built.encode("e\u0301", special=False) == built.encode("é", special=False)


def test_llama_3_takes_a_whole_word_without_its_merges():
    tokens = [*tiny_tokens(), "Ġthe" + "se"]
    types = [3] * 3 + [1] * (len(tokens) - 3)
    changes = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    assert codec(**changes, **{"tokenizer.ggml.pre": "llama-bpe"}).encode(" these", special=False) == [len(tokens) - 1]
    assert len(codec(**changes).encode(" these", special=False)) > 1


# Bad metadata

BAD = {
    "no tokenizer": ({"model": None}, UnsupportedModel, "holds no tokenizer"),
    "a foreign kind": ({"model": "rwkv"}, UnsupportedModel, "'rwkv', which is not supported.*llama"),
    "no scores": ({"model": "llama", "merges": None}, CorruptModel, "scores' must be 286 finite numbers"),
    "too few scores": ({"model": "llama", "merges": None, "scores": [1.0]}, CorruptModel, "286 finite numbers"),
    "scores that are none": ({"model": "t5", "scores": [float("nan")] * 286}, CorruptModel, "286 finite numbers"),
    "texts as a table": ({"model": "t5", "scores": [0] * 286, "precompiled_charsmap": [1]}, CorruptModel, "of bytes"),
    "an unknown cut": ({"pre": "klingon"}, UnsupportedModel, "'klingon' is not supported.*smollm"),
    "no tokens": ({"tokens": None}, CorruptModel, "tokens' must be an array of texts, found nothing"),
    "an empty vocabulary": ({"tokens": []}, CorruptModel, "at least one token"),
    "numbers as tokens": ({"tokens": [1, 2]}, CorruptModel, "an array of texts"),
    "a text as tokens": ({"tokens": "abc"}, CorruptModel, "an array of texts, found str"),
    "no merges": ({"merges": None}, CorruptModel, "merges' must be an array of texts"),
    "too few types": ({"token_type": [1, 1]}, CorruptModel, "286 whole numbers"),
    "types that are texts": ({"token_type": ["a"] * 286}, CorruptModel, "286 whole numbers"),
    "an id outside": ({"eos_token_id": 286}, CorruptModel, "eos_token_id' must be an id below 286"),
    "a number as BOS rule": ({"add_bos_token": 2}, CorruptModel, "add_bos_token' must be true or false"),
    "an id that is none": ({"bos_token_id": "x"}, CorruptModel, "bos_token_id' must be an id"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_metadata_is_named(case):
    changes, error, message = BAD[case]
    metadata = METADATA | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(error, match=message):
        tokenizer_json({key: value for key, value in metadata.items() if value is not None}, "bad.gguf")


VALUES = st.one_of(
    st.integers(-2, 300),
    st.booleans(),
    st.text(max_size=4),
    st.floats(),
    st.lists(st.text(max_size=3), max_size=4),
    st.lists(st.integers(-2, 9), max_size=4).map(lambda numbers: np.array(numbers, np.int32)),
    st.lists(st.floats(width=32), max_size=3).map(lambda numbers: np.array(numbers, np.float32)),
    st.just((np.array([1]), np.array([True]))),
)
KEYS = (
    *("model", "pre", "tokens", "merges", "token_type", "scores", "precompiled_charsmap", "normalizer.lowercase"),
    *("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"),
    *("bos_token_id", "eot_token_id", "unknown_token_id", "cls_token_id", "seperator_token_id"),
)


@given(st.sampled_from(list(SPELLINGS)), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_metadata_gives_a_json_or_a_typed_error(model, changes):
    changes = {"model": model, "scores": np.zeros(len(tiny_tokens()), np.float32)} | changes
    with suppress(ModelError):
        json.loads(tokenizer_json(METADATA | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}))


@pytest.mark.parametrize("merge", ["xyz abc", "t h", "Ġt", "", "Ġ t h"])
def test_merges_that_leave_the_vocabulary_are_corrupt(merge):
    with pytest.raises(CorruptModel, match=r"bad\.gguf: merge 1 of tokenizer\.ggml\.merges"):
        tokenizer_json(METADATA | {"tokenizer.ggml.merges": ["h e", merge]}, "bad.gguf")


def test_merges_cannot_make_a_control_token():
    tokens = [*tiny_tokens(), "th"]
    types = [3] * 3 + [1] * (len(tokens) - 4) + [3]
    found = codec(
        **{
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": ["t h", *MERGES],
        }
    )
    assert len(tokens) - 1 not in found.encode("th", special=False)
    assert found.encode("th", special=True) == [len(tokens) - 1]


def test_what_the_library_refuses_is_a_typed_error():
    with pytest.raises(UnsupportedModel, match="The tokenizer cannot be built"):
        wait(open_tokenizer(b"{}"))


def test_the_json_is_valid_and_of_two_equal_tokens_the_first_counts():
    tokens = [*tiny_tokens(), 'a"\\', "Ġthe"]
    types = np.array([3] * 3 + [1] * (len(tokens) - 3), np.int32)
    made = json.loads(tokenizer_json(METADATA | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}))
    assert made["model"]["vocab"]['a"\\'] == len(tokens) - 2
    assert made["model"]["vocab"]["Ġthe"] == tiny_tokens().index("Ġthe")
    assert made["model"]["merges"] == list(MERGES)
    assert made["added_tokens"] == []


def test_an_architecture_that_is_an_array_is_no_family():
    metadata = tiny_metadata(width=32, layers=1, heads=1, kv_heads=1, head_width=32, ffn=32, context=32)
    for odd in (np.arange(3), np.array([]), [], None):
        assert not read_vocabulary("odd", {**metadata, "general.architecture": odd}).eats_after
