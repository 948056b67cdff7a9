"""A chat template for models whose file has none, known by their control tokens. Knows no tokenizer.

Base models have the same control tokens as their chat models, so only a name that says so makes a chat model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CHAT_NAME = re.compile(r"(?<![a-z])(chat|instruct|it|sft|dpo|orpo|rlhf|assistant|distill|think|thinking|r1)(?![a-z])")
_LOOP = "{% for m in messages %}"
_END = "{% endfor %}"
_SYSTEM_APART = (
    "{% if messages[0].role == 'system' %}{% set start = messages[0].content | trim %}{% set rest = messages[1:] %}"
    "{% else %}{% set start = '' %}{% set rest = messages %}{% endif %}"
)


def _turns(turn: str, answer: str) -> str:
    return _LOOP + "{{ " + turn + " }}" + _END + "{% if add_generation_prompt %}{{ " + answer + " }}{% endif %}"


CHATML = _turns(
    "'<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n'",
    "'<|im_start|>assistant\\n'",
)
PHI4 = _turns(
    "'<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>'",
    "'<|im_start|>assistant<|im_sep|>'",
)
LLAMA3 = "{{ bos_token }}" + _turns(
    "'<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>'",
    "'<|start_header_id|>assistant<|end_header_id|>\\n\\n'",
)
PHI3 = _turns("'<|' + m.role + '|>' + m.content + '<|end|>'", "'<|assistant|>'")
GRANITE = _turns(
    "'<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n'",
    "'<|start_of_role|>assistant<|end_of_role|>'",
)
GEMMA = (
    "{{ bos_token }}"
    + _SYSTEM_APART
    + "{% for m in rest %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\\n' }}"
    + "{% if loop.first and start %}{{ start + '\\n\\n' }}{% endif %}{{ m.content | trim + '<end_of_turn>\\n' }}"
    + _END
    + "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}"
    + _SYSTEM_APART
    + "{% for m in rest %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim + eos_token }}{% else %}"
    + "{{ '[INST] ' + (start + '\\n\\n' if loop.first and start else '') + m.content + ' [/INST]' }}{% endif %}"
    + _END
)
LLAMA2 = (
    _SYSTEM_APART
    + "{% for m in rest %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% else %}"
    + "{{ bos_token + '[INST] ' + ('<<SYS>>\\n' + start + '\\n<</SYS>>\\n\\n' if loop.first and start else '') }}"
    + "{{ m.content | trim + ' [/INST]' }}{% endif %}"
    + _END
)
DEEPSEEK = (
    "{{ bos_token }}"
    + _LOOP
    + "{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}{% elif m.role == 'assistant' %}"
    + "{{ '<｜Assistant｜>' + m.content + eos_token }}{% else %}{{ m.content }}{% endif %}"
    + _END
    + "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)

# The first whose control tokens a vocabulary has.
_BY_TOKENS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|im_start|>", "<|im_sep|>"), PHI4),
    (("<|im_start|>", "<|im_end|>"), CHATML),
    (("<|start_header_id|>", "<|eot_id|>"), LLAMA3),
    (("<start_of_turn>", "<end_of_turn>"), GEMMA),
    (("<|start_of_role|>", "<|end_of_role|>"), GRANITE),
    (("<|assistant|>", "<|end|>"), PHI3),
    (("<｜User｜>", "<｜Assistant｜>"), DEEPSEEK),
    (("[INST]", "[/INST]"), MISTRAL),
)
# Models whose turns are written in plain letters: only the name tells.
_BY_NAME = (("mistral", MISTRAL), ("mixtral", MISTRAL), ("llama2", LLAMA2), ("codellama", LLAMA2))


def fallback_template(names: str, control: Mapping[str, int]) -> str | None:
    """The template of a chat model that is called `names` (every name it has, in one text); None for a base model."""
    lower = names.lower()
    if not _CHAT_NAME.search(lower):
        return None
    for tokens, template in _BY_TOKENS:
        if all(token in control for token in tokens):
            return template
    plain = re.sub(r"[^a-z0-9]", "", lower)
    return next((template for name, template in _BY_NAME if name in plain), None)
