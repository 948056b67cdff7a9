"""Tokenizers that come as tokenizer.json: ids equal those of the library with the file as it is."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from local_llm.errors import CorruptModel, InvalidRequest, LocalLLMError, UnsupportedModel
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.dialogue import Dialogue, open_dialogue
from local_llm.text.folder import TokenizerFiles, read_folder
from tests.conftest import wait
from tests.model.tiny import CHATML
from tests.unit.golden_tokenizers import merges_of_scores, metadata_of
from tests.unit.texts import texts

CONTROL = ("<s>", "</s>", "<|user|>", "<|im_end|>")


def pieces(kind: str) -> tuple[dict[str, int], list[float]]:
    """A golden vocabulary as Hugging Face would have it, without BERT's phantom spaces."""
    metadata = metadata_of(kind)
    vocab = {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    return vocab, [float(score) for score in metadata.get("tokenizer.ggml.scores", ())]


def parts(merge: str) -> tuple[str, str]:
    left, right = merge.split(" ")
    return left, right


def sentence_piece(scheme: str) -> tokenizers.Tokenizer:
    """Llama's: "legacy" puts a space before every stretch of text, "first" only before the first."""
    vocab, _ = pieces("llama")
    normal = {
        text: token for text, token in vocab.items() if metadata_of("llama")["tokenizer.ggml.token_type"][token] == 1
    }
    merges = [parts(merge) for merge in merges_of_scores(normal, metadata_of("llama")["tokenizer.ggml.scores"])]
    built = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if scheme == "legacy":
        built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        built.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    built.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return built


def byte_level(pre: str) -> tokenizers.Tokenizer:
    metadata = metadata_of(pre)
    vocab = {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [parts(merge) for merge in metadata["tokenizer.ggml.merges"]]
    built = tokenizers.Tokenizer(models.BPE(vocab, merges))
    built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    return built


def unigram() -> tokenizers.Tokenizer:
    vocab, scores = pieces("t5")
    built = tokenizers.Tokenizer(models.Unigram(list(zip(vocab, scores, strict=True)), unk_id=0))
    built.normalizer = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    built.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    return built


def word_piece() -> tokenizers.Tokenizer:
    tokens = metadata_of("bert")["tokenizer.ggml.tokens"]
    words = [
        text[1:] if text[0] == "▁" else text if text[0] == "[" and len(text) > 1 else f"##{text}" for text in tokens
    ]
    vocab = {word: number for number, word in enumerate(words)}
    built = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer()
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    built.add_special_tokens(["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return built


BUILDERS = {
    "sentence piece, legacy": lambda: sentence_piece("legacy"),
    "sentence piece, first": lambda: sentence_piece("first"),
    "sentence piece, never": lambda: sentence_piece("never"),
    "byte level": lambda: byte_level("gpt-2"),
    "unigram": unigram,
    "word piece": word_piece,
}
CONFIG = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": CHATML}


@cache
def original(kind: str) -> tokenizers.Tokenizer:
    built = BUILDERS[kind]()
    if kind != "word piece":
        built.add_special_tokens(
            [*CONTROL[:2], AddedToken("<|user|>", rstrip=True), AddedToken("<|im_end|>", lstrip=True)]
        )
        built.add_tokens([AddedToken("<think>", normalized=False), AddedToken("two  words", normalized=False)])
    built.enable_truncation(8)
    built.enable_padding()
    return built


@cache
def reference(kind: str) -> tokenizers.Tokenizer:
    built = tokenizers.Tokenizer.from_str(original(kind).to_str())
    built.no_truncation()
    built.no_padding()
    return built


@cache
def dialogue(kind: str, **changes: Any) -> Dialogue:
    files = TokenizerFiles(original(kind).to_str().encode(), CONFIG | changes)
    return wait(open_dialogue("folder", files, open_tokenizer))


def plain(text: str) -> bool:
    return not any(token in text for token in (*CONTROL, "[CLS]", "[MASK]", "<unk>"))


@pytest.mark.parametrize("kind", BUILDERS)
def test_ids_are_those_of_the_file_as_it_is(kind):
    strings = [text for text in texts() if plain(text)][:700]
    codec = dialogue(kind).codec
    differ = [
        t for t in strings if codec.encode(t, special=False) != reference(kind).encode(t, add_special_tokens=False).ids
    ]
    assert not differ


@pytest.mark.parametrize("kind", list(BUILDERS)[:5])
def test_control_tokens_in_prompts_are_those_of_the_file(kind):
    words = [text for text in texts(60) if plain(text)]
    for number in range(len(words) - 3):
        a, b, c = words[number : number + 3]
        text = f"<s>{a}<|user|> \n{b} <|im_end|>{c}</s><|user|>{a}<think>{b}two  words"
        codec = dialogue(kind).codec
        assert codec.encode(text, special=True) == reference(kind).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", BUILDERS)
def test_control_tokens_that_people_type_stay_text(kind):
    control = dialogue(kind).codec.vocabulary.control
    for text in (*control, "a".join(control)):
        ids = dialogue(kind).codec.encode(text, special=False)
        assert not set(ids) & set(control.values())


@pytest.mark.parametrize("kind", ["sentence piece, first", "word piece"])
def test_what_the_file_puts_around_a_text_is_put(kind):
    for text in ("Alle Menschen sind frei", "a"):
        assert dialogue(kind).embedding_ids(text) == reference(kind).encode(text).ids


def test_bos_follows_the_config_then_the_post_processor():
    assert dialogue("sentence piece, first").codec.vocabulary.add_bos
    assert not dialogue("sentence piece, first", add_bos_token=False).codec.vocabulary.add_bos
    assert not dialogue("byte level").codec.vocabulary.add_bos
    assert dialogue("byte level", tokenizer_class="LlamaTokenizerFast").codec.vocabulary.add_bos


@pytest.mark.parametrize("kind", list(BUILDERS)[:4])
def test_texts_read_back(kind):
    codec = dialogue(kind).codec
    for text in ("Würde und 漢字 😀\n x", "two   words  "):
        assert codec.decode(codec.encode(text, special=False)).lstrip(" ") == text


def test_ends_are_the_files_and_the_callers():
    found = dialogue("byte level")
    control = found.codec.vocabulary.control
    assert found.stop_ids == {control["</s>"], control["<|im_end|>"]}
    files = TokenizerFiles(original("byte level").to_str().encode(), CONFIG, stop_ids=(7,))
    assert 7 in wait(open_dialogue("folder", files, open_tokenizer)).stop_ids


def test_templates_by_name_by_file_or_none():
    made = original("byte level").to_str().encode()
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "{{ tools[0].function.name }}"}]
    tools = [{"type": "function", "function": {"name": "lookup"}}]
    user = [{"role": "user", "content": "x"}]

    def words(files: TokenizerFiles, **options: Any) -> str:
        found = wait(open_dialogue("folder", files, open_tokenizer))
        return found.codec.decode(found.chat_ids(user, **options))

    assert words(TokenizerFiles(made, {"chat_template": named})) == "D"
    assert words(TokenizerFiles(made, {"chat_template": named}), tools=tools) == "lookup"
    assert words(TokenizerFiles(made, {"chat_template": "old"}, chat_template="file")) == "file"
    with pytest.raises(InvalidRequest, match="base model"):
        words(TokenizerFiles(made, {}))


def test_a_wide_template_comes_before_mlcs_and_mlcs_before_none():
    made = original("byte level").to_str().encode()
    conversation = {
        "roles": {"user": "U", "assistant": "A"},
        "seps": ["\n"],
        "role_content_sep": ": ",
        "role_empty_sep": ":",
        "stop_str": ["U:"],
        "stop_token_ids": [5],
    }
    files = TokenizerFiles(made, {}, conversation=conversation)
    found = wait(open_dialogue("folder", files, open_tokenizer))
    assert found.codec.decode(found.chat_ids([{"role": "user", "content": "x"}])) == "U: x\nA:"
    assert 5 in found.stop_ids
    reader = found.reader()
    reader.feed(found.codec.encode("yes\nU: no", special=False))
    assert (reader.text, reader.stopped) == ("yes\n", True)
    prefixed = TokenizerFiles(made, {}, conversation={**conversation, "system_prefix_token_ids": [7, 8]})
    ids = wait(open_dialogue("folder", prefixed, open_tokenizer)).chat_ids([{"role": "user", "content": "x"}])
    assert ids == [7, 8, *found.chat_ids([{"role": "user", "content": "x"}])]
    beyond = TokenizerFiles(made, {}, conversation={**conversation, "system_prefix_token_ids": [10**6]})
    with pytest.raises(CorruptModel, match="the id 1000000"):
        wait(open_dialogue("folder", beyond, open_tokenizer))
    both = wait(open_dialogue("folder", TokenizerFiles(made, CONFIG, conversation=conversation), open_tokenizer))
    old: Any = "llama-2"
    named = wait(open_dialogue("folder", TokenizerFiles(made, {}, conversation=old), open_tokenizer))
    assert not named.can_chat
    assert "user\nx" in both.codec.decode(both.chat_ids([{"role": "user", "content": "x"}]))


BAD = {
    "no JSON": b"<html>",
    "a list": b"[]",
    "no model": b"{}",
    "no vocabulary": b'{"model": {"type": "BPE", "merges": []}}',
    "ids that are texts": b'{"model": {"type": "BPE", "merges": [], "vocab": {"a": "b"}}}',
    "a huge id": b'{"model": {"type": "BPE", "merges": [], "vocab": {"a": 99999999999}}}',
    "an empty vocabulary": b'{"model": {"type": "BPE", "merges": [], "vocab": {}}}',
    "added tokens without ids": b'{"model": {"type": "BPE", "merges": [], "vocab": {"a": 0}}, "added_tokens": [{}]}',
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_a_typed_error(case):
    with pytest.raises(CorruptModel, match=r"folder: tokenizer\.json"):
        wait(open_dialogue("folder", TokenizerFiles(BAD[case]), open_tokenizer))


@pytest.mark.parametrize("token", [[], "a", -1, 1 << 20, True])
def test_a_post_processor_writes_tokens_only(token):
    found = json.loads(original("word piece").to_str())
    found["post_processor"]["cls"][1] = token
    with pytest.raises(CorruptModel, match="no token's id"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))


@pytest.mark.parametrize("token", [1 << 70, -1, 1 << 20, [0], True])
def test_an_unknown_token_is_one(token):
    found = json.loads(original("unigram").to_str())
    found["model"]["unk_id"] = token
    with pytest.raises(CorruptModel, match="unknown token"):
        read_folder("folder", TokenizerFiles(json.dumps(found).encode()))


@pytest.mark.parametrize("kind", BUILDERS)
def test_halves_of_characters_in_tokens_read_as_a_mark(kind):
    found = json.loads(original(kind).to_str())
    vocab = found["model"]["vocab"]
    if isinstance(vocab, list):
        token, vocab[5][0] = 5, "\ud800"
    else:
        token = vocab["\ud800"] = len(vocab) + 9
    vocabulary, _ = read_folder("folder", TokenizerFiles(json.dumps(found).encode()))
    assert vocabulary.token_bytes(token, special=True).strip() == b"?"


def test_an_unknown_type_is_named():
    with pytest.raises(UnsupportedModel, match="WordLevel"):
        wait(
            open_dialogue(
                "folder",
                TokenizerFiles(json.dumps({"model": {"type": "WordLevel", "vocab": {}}}).encode()),
                open_tokenizer,
            )
        )


def test_merges_cannot_make_a_control_token():
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    added = [{"id": 2, "content": "ab", "special": True}]
    files = TokenizerFiles(json.dumps({"version": "1.0", "model": model, "added_tokens": added}).encode())
    codec = wait(open_dialogue("folder", files, open_tokenizer)).codec
    assert codec.encode("ab", special=False) == [0, 1]
    assert codec.encode("ab", special=True) == [2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**12) | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("type", "vocab", "merges", "unk_id", "unk_token", "byte_fallback")
SOUND = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": ["a b"]}


@example(model={"unk_token": "none"}, rest={}, config={"chat_template": "0"})
@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=2),
    st.dictionaries(st.sampled_from(("added_tokens", "post_processor", "pre_tokenizer", "decoder")), JSON, max_size=2),
    st.dictionaries(st.sampled_from(("bos_token", "eos_token", "chat_template", "add_bos_token")), JSON, max_size=2),
)
def test_any_file_gives_a_dialogue_or_a_typed_error(model, rest, config):
    whole = {"version": "1.0", "model": SOUND | model, **rest}
    with suppress(LocalLLMError):
        files = TokenizerFiles(json.dumps(whole).encode(), config)
        found = wait(open_dialogue("folder", files, open_tokenizer))
        found.chat_ids([{"role": "user", "content": "ab"}])
