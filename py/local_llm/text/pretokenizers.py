r"""How each byte-level vocabulary cuts a text before merging, as the parts of a tokenizer.json. Pure data.

The names are those that `tokenizer.ggml.pre` uses. Another family is one more line in `BYTE_LEVEL`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm.errors import UnsupportedModel

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s+(?!\S)|\s+"
_TAIL = rf"\s*[\r\n]+|{_SPACES}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT2_WORDS = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}"
_DIGIT, _THREE_DIGITS, _UP_TO_THREE = r"\p{N}", "[0-9][0-9][0-9]", r"\p{N}{1,3}"
_HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_MARKED_WORDS = (  # DeepSeek 3 and those after it: a mark of punctuation goes with the Latin letters behind it
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_TAIL}"
)


def _words(digits: str, *, endings: str = f"{_ENDINGS}|", letter: str = r"\p{L}") -> str:
    """The expression that Llama 3 and Qwen 2 share; they differ in how digits are grouped."""
    rest = r"\p{L}\p{N}" if letter == r"\p{L}" else r"\p{L}\p{M}\p{N}"
    return rf"{endings}[^\r\n\p{{L}}\p{{N}}]?{letter}+|{digits}| ?[^\s{rest}]+[\r\n]*|{_TAIL}"


def _cased(digits: str, endings: str) -> str:
    """The expression that Tekken and GPT-4o share: a word is cut where its case changes."""
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{endings}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{endings}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_TAIL}"
    )


@dataclass(frozen=True)
class PreTokenizer:
    """splits: expressions; each cuts the pieces of the one before it, matches apart from what is between them.

    whole_words: a piece that is a token by itself is not merged step by step. bos: prompts begin with the BOS token
    unless the file says otherwise.
    """

    splits: tuple[str, ...]
    nfc: bool = False
    whole_words: bool = False
    bos: bool = False

    def json(self) -> dict[str, Any]:
        """The value of "pre_tokenizer"."""
        steps: list[dict[str, Any]] = [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
            for split in self.splits
        ]
        steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
        return {"type": "Sequence", "pretokenizers": steps}


_GPT2 = PreTokenizer((_GPT2_WORDS,))
_NEOX = PreTokenizer((_GPT2_WORDS,), nfc=True)
_DIGITS = PreTokenizer((_DIGIT, _GPT2_WORDS))
_FALCON_MARKS = r"[\p{P}\$\+<=>\^~\|`]+"
_LLAMA3 = PreTokenizer((_words(_UP_TO_THREE),), whole_words=True, bos=True)
_CL100K = PreTokenizer((_words(_UP_TO_THREE),))
_ONE_DIGIT = PreTokenizer((_words(_DIGIT),))
_QWEN2 = PreTokenizer((_words(_DIGIT),), nfc=True)
_GPT4O = PreTokenizer((_cased(_UP_TO_THREE, f"{_ENDINGS}?"),))
_DEEPSEEK3 = PreTokenizer((_UP_TO_THREE, _HAN_AND_KANA, _MARKED_WORDS))
_BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
_BAILING = PreTokenizer(
    (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|" + _SPACES,)
)
_CASCADE = "|".join([*(rf"\s{{{2**n}}}(?!\S)" for n in range(9, 1, -1)), r"\s{1,2}(?!\S)", r"\s"])
_DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2_WORDS, r"\p{N}+", _THREE_DIGITS))

# What old files call "default" is cut as llama.cpp cuts it: those files were made and tried with it.
BYTE_LEVEL: dict[str, PreTokenizer] = {
    "default": _DEFAULT,
    **dict.fromkeys(("gpt-2", "phi-2", "gigachat", "mellum", "modern-bert", "exaone4", "a.x-4.0"), _GPT2),
    **dict.fromkeys(("trillion", "granite-docling", "jais", "roberta-bpe", "jina-v2-code", "jina-v1-en"), _GPT2),
    **dict.fromkeys(("jina-es", "jina-de", "jina-v2-es", "jina-v2-de"), _GPT2),
    **dict.fromkeys(("olmo", "mpt"), _NEOX),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"), _DIGITS),
    "command-r": PreTokenizer((_DIGIT, _GPT2_WORDS), nfc=True),
    "falcon": PreTokenizer((_FALCON_MARKS, _GPT2_WORDS, _THREE_DIGITS)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0"), _LLAMA3),
    **dict.fromkeys(("lfm2", "jina-v5-nano"), _LLAMA3),
    **dict.fromkeys(("smaug-bpe", "dbrx", "glm4", "chatglm-bpe"), _CL100K),
    "minicpm5": PreTokenizer((_UP_TO_THREE, _words(r"\p{N}+")), whole_words=True),
    "jais-2": PreTokenizer((_words(_UP_TO_THREE).replace(_SPACES, _CASCADE),)),
    **dict.fromkeys(("qwen2", "f2llmv2"), _QWEN2),
    "qwen35": PreTokenizer((_words(_DIGIT, letter=r"[\p{L}\p{M}]"),), nfc=True),
    **dict.fromkeys(("deepseek-r1-qwen", "megrez", "kormo", "stablelm2", "hunyuan", "grok-2"), _ONE_DIGIT),
    "solar-open": _ONE_DIGIT,
    "laguna": PreTokenizer((r"[^\n]+|[\n]+", _words(_DIGIT))),
    "ufakzeka": PreTokenizer((_words(_DIGIT, endings=""),)),
    "seed-coder": PreTokenizer((_words(_DIGIT).replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+"),)),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING),
    "tekken": PreTokenizer((_cased(_DIGIT, ""),), whole_words=True, bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _GPT4O),
    "granite-embed-multi-97m": PreTokenizer((_cased(_UP_TO_THREE, f"{_ENDINGS}?"),), whole_words=True),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), PreTokenizer((r"\d{1,3}(?=(?:\d{3})*\b)", *_GPT4O.splits))),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", _DIGIT)
    ),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK3),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), PreTokenizer((_BLOOM,))),
    "viking": PreTokenizer((_BLOOM, _DIGIT)),
}


_COMMON = ("llama-bpe", "qwen2", "qwen35", "smollm", "tekken", "gpt-4o", "gpt-2", "dbrx", "refact", "deepseek-v3")


def byte_level(pre: str) -> PreTokenizer:
    """The entry of `pre`, or UnsupportedModel: another cut would give other ids and a confused model."""
    found = BYTE_LEVEL.get(pre)
    if found is None:
        raise UnsupportedModel(
            f"The file's pre-tokenizer '{pre[:60]}' is not supported.",
            remedy=f"Supported are {len(BYTE_LEVEL)}: {', '.join(_COMMON)} and others.",
        )
    return found
