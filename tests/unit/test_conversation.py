"""MLC's conversation templates, and the templates for files that have none."""

from __future__ import annotations

import numpy as np
import pytest

from local_llm.errors import CorruptModel, InvalidRequest
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.chat_template import render
from local_llm.text.conversation import Conversation
from local_llm.text.dialogue import open_dialogue
from local_llm.text.fallback import fallback_template
from tests.conftest import wait
from tests.model.tiny import CHATML
from tests.unit.test_tokenizer import METADATA

CHATML_MLC = {
    "name": "chatml",
    "system_template": "<|im_start|>system\n{system_message}<|im_end|>\n",
    "system_message": "A conversation between a user and an assistant.",
    "roles": {"user": "<|im_start|>user", "assistant": "<|im_start|>assistant"},
    "role_templates": {"user": "{user_message}", "assistant": "{assistant_message}", "tool": "{tool_message}"},
    "seps": ["<|im_end|>\n"],
    "role_content_sep": "\n",
    "role_empty_sep": "\n",
    "stop_str": ["<|im_end|>"],
    "stop_token_ids": [2],
}
LLAMA2_MLC = {
    "system_template": "[INST] <<SYS>>\n{system_message}\n<</SYS>>\n\n",
    "system_message": "",
    "roles": {"user": "[INST]", "assistant": "[/INST]", "tool": "[INST]"},
    "seps": [" ", " </s>"],
    "role_content_sep": " ",
    "role_empty_sep": " ",
    "add_role_after_system_message": False,
}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi {user_message}"}
TURNS = [USER, {"role": "assistant", "content": "Ho"}, USER]


def test_chatml_of_mlc_is_chatml():
    assert Conversation(CHATML_MLC).render([SYSTEM, *TURNS]) == render(CHATML, [SYSTEM, *TURNS])
    assert Conversation(CHATML_MLC).render(TURNS).startswith("<|im_start|>system\nA conversation between")
    assert Conversation(CHATML_MLC).render(TURNS, add_generation_prompt=False).endswith("Hi {user_message}<|im_end|>\n")


def test_two_separators_and_a_system_message_inside_the_first_turn():
    assert Conversation(LLAMA2_MLC).render([SYSTEM, *TURNS]) == (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi {user_message} [/INST] Ho </s>[INST] Hi {user_message} [/INST] "
    )


def test_stops():
    found = Conversation(CHATML_MLC | {"stop_str": ["", "###"]})
    assert (found.stop_texts, found.stop_ids) == (("###",), (2,))


def test_tools_are_refused():
    with pytest.raises(InvalidRequest, match="knows no tools"):
        Conversation(CHATML_MLC).render([USER], tools=[{}])


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": None},
        {"roles": {"user": "u"}},
        {"roles": {"user": 1, "assistant": "a"}},
        {"seps": [1]},
        {"seps": 5},
        {"stop_str": {"a": 1}},
        {"role_templates": []},
    ],
)
def test_a_broken_one_is_a_typed_error(changes):
    with pytest.raises(CorruptModel, match="conv_template"):
        Conversation(CHATML_MLC | changes)


# Fallbacks

CASES = {
    "ChatML": ("Qwen2.5 1.5B Instruct", ["<|im_start|>", "<|im_end|>"], "<|im_start|>user\nHi<|im_end|>\n"),
    "Phi 4": ("phi-4 chat", ["<|im_start|>", "<|im_sep|>", "<|im_end|>"], "<|im_start|>user<|im_sep|>Hi<|im_end|>"),
    "Llama 3": (
        "Llama-3.2-1B-Instruct.gguf",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    ),
    "Gemma": ("gemma-3-270m-it", ["<start_of_turn>", "<end_of_turn>"], "<s><start_of_turn>user\nHi<end_of_turn>\n"),
    "Phi 3": ("Phi 3.5 mini instruct", ["<|user|>", "<|assistant|>", "<|end|>"], "<|user|>Hi<|end|><|assistant|>"),
    "Granite": (
        "granite 3.1 2b instruct",
        ["<|start_of_role|>", "<|end_of_role|>"],
        "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n",
    ),
    "DeepSeek": ("DeepSeek-R1-Distill", ["<｜User｜>", "<｜Assistant｜>"], "<s><｜User｜>Hi<｜Assistant｜>"),
    "Mistral": ("Mistral 7B Instruct v0.3", ["[INST]", "[/INST]"], "<s>[INST] Hi [/INST]"),
    "Mistral in letters": ("mistral-7b-instruct-v0.1.Q4_0.gguf", [], "<s>[INST] Hi [/INST]"),
    "Llama 2": ("Llama 2 7B Chat", [], "<s>[INST] Hi [/INST]"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_chat_model_without_a_template_is_known_by_its_tokens(case):
    name, tokens, expected = CASES[case]
    template = fallback_template(name, dict.fromkeys(tokens, 1))
    assert template is not None
    user = [{"role": "user", "content": "Hi"}]
    text = render(template, user, bos_token="<s>", eos_token="</s>")
    assert text.startswith(expected)
    answered = render(template, [SYSTEM, *user, {"role": "assistant", "content": "Ho"}, *user], bos_token="<s>")
    assert answered.index("Be brief.") < answered.index("Hi") < answered.index("Ho") < answered.rindex("Hi")


@pytest.mark.parametrize("name", ["Qwen2.5-1.5B", "Gemma 3 270m", "Llama 3.2 1B", "digits", "Initial", "chatter"])
def test_a_base_model_has_none_though_it_has_the_tokens(name):
    assert fallback_template(name, dict.fromkeys(["<|im_start|>", "<|im_end|>"], 1)) is None


def test_a_file_without_a_template_chats_only_if_its_name_says_so():
    metadata = METADATA | {"tokenizer.chat_template": None, "general.name": "Tiny"}
    base = wait(open_dialogue("tiny.gguf", metadata, open_tokenizer))
    assert not base.can_chat
    with pytest.raises(InvalidRequest, match=r"base model, which continues texts\. Use complete"):
        base.chat_ids([USER])
    assert not wait(open_dialogue("/home/chat/it/tiny.gguf?chat", metadata, open_tokenizer)).can_chat
    assert wait(open_dialogue("https://h/base/tiny-chat.gguf?x=/y", metadata, open_tokenizer)).can_chat
    tuned = wait(open_dialogue("tiny.gguf", metadata | {"general.finetune": "Instruct"}, open_tokenizer))
    assert tuned.can_chat
    assert tuned.chat_ids([USER]) == wait(open_dialogue("t", METADATA, open_tokenizer)).chat_ids([USER])


def test_a_gguf_may_have_a_template_for_tools():
    more = {"tokenizer.chat_template": "D", "tokenizer.chat_template.tool_use": "T"}
    found = wait(open_dialogue("tiny.gguf", METADATA | more, open_tokenizer))
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert found.codec.decode(found.chat_ids([USER])) == "D"
    assert found.codec.decode(found.chat_ids([USER], tools=tools)) == "T"


# What SentencePiece files add


def phi3(**changes):
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "<|user|>",
        "<|end|>",
        "▁",
        "h",
        "▁h",
        "\n",
        *(f"<0x{byte:02X}>" for byte in range(256)),
    ]
    types = [2, 3, 3, 4, 4, 1, 1, 1, 1, *[6] * 256]
    metadata = {
        "general.architecture": "phi3",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.array([-float(n) for n in range(len(tokens))], np.float32),
        "tokenizer.ggml.token_type": np.array(types, np.int32),
    }
    return wait(open_dialogue("phi", metadata | changes, open_tokenizer))


def test_phi_3s_tokens_swallow_white_space_and_cannot_be_typed():
    codec = phi3().codec
    assert codec.encode("<s><|user|>\nh<|end|>\n", special=True) == [1, 3, 7, 4]
    assert not {3, 4} & set(codec.encode("<|user|>", special=False))
    assert phi3(**{"general.architecture": "llama"}).codec.encode("<|user|>\nh", special=True) == [3, 5, 8, 6]
    assert 4 in phi3().stop_ids


def test_bytes_that_have_no_token_come_back_whole():
    reader = phi3().reader()
    ids = phi3().codec.encode("é😀", special=False)
    assert ids[1:] == [9 + byte for byte in "é😀".encode()]
    assert [reader.feed([token]) for token in ids] == ["", "", "é", "", "", "", "😀"]


def test_a_space_that_the_vocabulary_adds_is_no_part_of_an_answer():
    found = phi3()
    answer = found.codec.encode("h h", special=False)
    assert [found.codec.vocabulary.tokens[token] for token in answer] == ["▁h", "▁h"]

    def read(prompt, *more):
        reader = found.reader((), prompt)
        return "".join([*(reader.feed([token]) for token in (*more, *answer)), reader.finish()])

    assert read([1, 3]) == "h h"
    assert read([1, 6]) == " h h", "a text that goes on"
    assert read([3], 2) == "h h"
    spaceless = phi3(**{"tokenizer.ggml.add_space_prefix": False})
    assert spaceless.reader((), [3]).feed(answer) == " h h"
