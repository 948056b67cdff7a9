"""Templates with the features that well-known models' templates use, conversations for them, and what transformers
makes of each pair: `python -m tests.unit.golden.make_renders` (with PyPI transformers) writes renders.json.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("renders.json")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted(Path(__file__).with_name("templates").glob("*.jinja"))
}

_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Genève, <b>", "days": 3, "units": None}},
}
_MORE = {"id": "call00002", "type": "function", "function": {"name": "time", "arguments": {}}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.\nIn words.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "enum": [1, 3]}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
]
_ASK = {"role": "user", "content": " Wie wird das Wetter in Genève? 😀 "}
CHATS: dict[str, dict[str, Any]] = {
    "one question": {"messages": [_ASK]},
    "a system prompt": {"messages": [{"role": "system", "content": "Be brief.\n"}, _ASK]},
    "three turns": {
        "messages": [
            _ASK,
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nRain. "},
            {"role": "user", "content": "?"},
        ]
    },
    "no question is asked": {
        "messages": [_ASK, {"role": "assistant", "content": "Rain"}],
        "add_generation_prompt": False,
    },
    "tools": {"messages": [{"role": "system", "content": "S"}, _ASK], "tools": TOOLS},
    "a call and its answer": {
        "messages": [
            _ASK,
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call00001", "name": "weather", "content": '{"sky": "rain"}'},
        ],
        "tools": TOOLS,
    },
    "two calls": {
        "messages": [
            _ASK,
            {"role": "assistant", "content": "Let me see.", "tool_calls": [_CALL, _MORE], "reasoning_content": "two"},
            {"role": "tool", "tool_call_id": "call00001", "content": "rain"},
            {"role": "tool", "tool_call_id": "call00002", "content": "noon"},
            {"role": "assistant", "content": "Rain at noon."},
            {"role": "user", "content": "Thanks <|im_end|> </s>"},
        ]
    },
    "two questions at once": {"messages": [_ASK, _ASK]},
    "options": {"messages": [_ASK], "enable_thinking": False, "date_string": "1 May", "raise": "this"},
}


def main() -> None:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    golden: dict[str, dict[str, Any]] = {}
    for name, template in TEMPLATES.items():
        for chat, values in CHATS.items():
            values = copy.deepcopy(values) | TOKENS
            conversation, tools = values.pop("messages"), values.pop("tools", None)
            generate = values.pop("add_generation_prompt", True)
            try:
                rendered, _ = render_jinja_template(
                    [conversation], tools=tools, chat_template=template, add_generation_prompt=generate, **values
                )
                found = {"text": rendered[0]}
            except TemplateError as error:
                found = {"error": str(error)}
            golden.setdefault(name, {})[chat] = found
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
