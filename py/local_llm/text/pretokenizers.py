r"""How each byte-level vocabulary cuts a text before merging, as the parts of a tokenizer.json. Pure data.

The names are those that `tokenizer.ggml.pre` uses. Another family is one more line in `BYTE_LEVEL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm.errors import UnsupportedModel

_LETTERS_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _words(digits: str) -> str:
    """The expression that Llama 3 and Qwen 2 share; they differ in how digits are grouped."""
    return rf"{_LETTERS_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"


def _cased(digits: str, endings: str) -> str:
    """The expression that Tekken and GPT-4o share: a word is cut where its case changes."""
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{endings}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{endings}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_TAIL}"
    )


@dataclass(frozen=True)
class PreTokenizer:
    """split: an expression, or None for GPT-2's own. digits: every digit stands alone.

    whole_words: a piece that is a token by itself is not merged step by step. bos: prompts begin with the BOS token
    unless the file says otherwise.
    """

    split: str | None = None
    digits: bool = False
    nfc: bool = False
    whole_words: bool = False
    bos: bool = False

    def json(self) -> dict[str, Any]:
        """The value of "pre_tokenizer"."""
        steps: list[dict[str, Any]] = []
        if self.digits:
            steps.append({"type": "Digits", "individual_digits": True})
        if self.split is not None:
            steps.append({"type": "Split", "pattern": {"Regex": self.split}, "behavior": "Isolated", "invert": False})
        steps.append(
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": self.split is None}
        )
        return {"type": "Sequence", "pretokenizers": steps}


_GPT2 = PreTokenizer()
_DIGITS = PreTokenizer(digits=True)
_LLAMA3 = PreTokenizer(_words(r"\p{N}{1,3}"), whole_words=True, bos=True)
_QWEN2 = PreTokenizer(_words(r"\p{N}"), nfc=True)

BYTE_LEVEL: dict[str, PreTokenizer] = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "smaug-bpe": PreTokenizer(_words(r"\p{N}{1,3}")),
    "dbrx": PreTokenizer(_words(r"\p{N}{1,3}")),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": PreTokenizer(_words(r"\p{N}")),
    "tekken": PreTokenizer(_cased(r"\p{N}", ""), whole_words=True, bos=True),
    "gpt-4o": PreTokenizer(_cased(r"\p{N}{1,3}", f"{_LETTERS_ENDINGS}?")),
}


def byte_level(pre: str) -> PreTokenizer:
    """The entry of `pre`, or UnsupportedModel: another cut would give other ids and a confused model."""
    found = BYTE_LEVEL.get(pre)
    if found is None:
        raise UnsupportedModel(
            f"The file's pre-tokenizer '{pre[:60]}' is not supported.",
            remedy=f"Supported: {', '.join(sorted(BYTE_LEVEL))}.",
        )
    return found
