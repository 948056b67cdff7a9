"""tokenizer.json files that would take the library's time, memory or process: refused before, or a typed error."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.dialogue import open_dialogue
from local_llm.text.folder import TokenizerFiles, read_folder
from tests.conftest import wait
from tests.unit.test_folder import CONFIG, original

LONGER = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 9}
REPEATED = [{"type": "Prepend", "prepend": "a" * 9}] * 3
GROWING = {
    "what stands before": REPEATED,
    "replacements": [LONGER] * 20,
    "a long one": [LONGER | {"content": "a" * 100}],
    "between all characters": [LONGER | {"pattern": {"Regex": "b*"}}] * 20,
    "nothing": [LONGER | {"pattern": {"String": ""}, "content": "a"}] * 20,
    "bytes of bytes": [{"type": "ByteLevel"}] * 20,
}


@pytest.mark.parametrize("case", GROWING)
def test_steps_that_make_texts_ever_longer_are_refused(case):
    found = json.loads(original("byte level").to_str())
    found["normalizer"] = {"type": "Sequence", "normalizers": GROWING[case]}
    with pytest.raises(CorruptModel, match="many times as long"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))


@pytest.mark.parametrize("name", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_what_stands_at_the_parts_of_words_is_short(name):
    found = json.loads(original("sentence piece, legacy").to_str())
    found["model"] |= {"merges": [], name: "a" * 9}
    opened = wait(open_dialogue("folder", TokenizerFiles(json.dumps(found).encode()), open_tokenizer))
    assert len(opened.completion_ids("b" * 300)) < 300 * 20
    found["model"][name] = "a" * 5000
    with pytest.raises(CorruptModel, match="many times as long"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))
    found["model"][name] = [1]
    with pytest.raises(CorruptModel, match=f"{name} is no text"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))


@pytest.mark.parametrize("longest", [10**9, -1, "100", None])
def test_words_whose_parts_are_looked_up_are_short(longest):
    found = json.loads(original("word piece").to_str())
    found["model"]["max_input_chars_per_word"] = longest
    with pytest.raises(CorruptModel, match="expected words of"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))


def going_on(merge: list[str] | str) -> TokenizerFiles:
    vocab = {"a": 0, "##b": 1, "ab": 2, "\u0120": 3, "<s": 4, "##>": 5, "<s>": 6}
    control = ["<s", "##>"] if isinstance(merge, list) else "<s ##>"
    model = {"type": "BPE", "vocab": vocab, "merges": [merge, control], "continuing_subword_prefix": "##"}
    added = [{"id": 6, "content": "<s>", "special": True}]
    return TokenizerFiles(json.dumps({"model": model, "added_tokens": added}).encode())


@pytest.mark.parametrize("merge", [["a", "##b"], "a ##b"])
def test_parts_that_go_on_are_merged_without_what_marks_them(merge):
    codec = wait(open_dialogue("folder", going_on(merge), open_tokenizer)).codec
    assert codec.encode("ab", special=False) == [2]
    assert 6 not in codec.encode("<s>", special=False)


@pytest.mark.parametrize("merge", [["a", "\u0120"], ["##b", "a"], "a \u0120"])
def test_merges_of_parts_without_their_mark_never_reach_the_library(merge):
    """It cuts off as many bytes as the mark has, be it inside a character; its error about that ends the process."""
    with pytest.raises(CorruptModel, match="without the continuing_subword_prefix"):
        read_folder("folder", going_on(merge))


def test_control_tokens_of_any_length_take_little_memory():
    found = json.loads(original("byte level").to_str())
    for token, length in enumerate((60_000, 500, 499), 5):
        found["added_tokens"].append({"id": token, "content": f"<{'a' * length}>", "special": True})
    files = TokenizerFiles(json.dumps(found).encode(), CONFIG)
    tracemalloc.start()
    opened = wait(open_dialogue("folder", files, open_tokenizer))
    opened.chat_ids([{"role": "user", "content": "<" + "a" * 50_000}])
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_definition_that_the_library_panics_on_is_a_typed_error():
    """It takes more bytes off a merge's second part than that has."""
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a"]], "continuing_subword_prefix": "aaaaa"}
    with pytest.raises(UnsupportedModel, match=r"cannot be built: .*out of range"):
        wait(open_tokenizer(json.dumps({"model": model}).encode()))


def test_a_text_that_the_library_cannot_cope_with_is_a_typed_error():
    """The library panics, which is no Exception: its expression goes back and forth without end."""
    found = json.loads(original("byte level").to_str())
    found["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    opened = wait(open_dialogue("folder", TokenizerFiles(json.dumps(found).encode()), open_tokenizer))
    with pytest.raises(UnsupportedModel, match="fails on a text"):
        opened.completion_ids("a" * 40 + "b")
    found["model"] = {"type": "Unigram", "vocab": [["a", 0.5]]}
    opened = wait(
        open_dialogue("folder", TokenizerFiles(json.dumps(found | {"added_tokens": []}).encode()), open_tokenizer)
    )
    with pytest.raises(UnsupportedModel, match="fails on a text"):
        opened.completion_ids("b")
