"""Writes tokenizers.json: small vocabularies of each kind and digests of the ids that their makers' own code gives.

Not a part of the tests: it needs PyPI transformers, sentencepiece, regex and gguf. `python -m
tests.unit.golden.make_tokenizers`; with the path of Gemma 3's GGUF it writes tests/model/golden/gemma3_ids.txt.
The references share no code with the package: SentencePiece itself, the classes of transformers, and for the other
byte-level kinds Python's `regex` for the cuts, then a bare BPE for each piece.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import regex
import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import models, pre_tokenizers, trainers
from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

from tests.unit.texts import SENTENCES, digest, texts

GOLDEN = Path(__file__).with_name("tokenizers.json")
GEMMA = Path(__file__).parents[2] / "model" / "golden" / "gemma3_ids.txt"
CORPUS = SENTENCES * 3 + [word for sentence in SENTENCES for word in sentence.split()]
Encode = Callable[[str], Sequence[int]]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ONE_DIGIT = LLAMA3.replace("{1,3}", "")
O200K = (  # as tiktoken publishes it
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
DEEPSEEK3 = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
]
CASCADE = (
    "|".join(rf"\s{{{size}}}(?!\S)" for size in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2")) + r"|\s{1}"
)
CUTS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "starcoder": [r"\p{N}", GPT2],
    "dbrx": [LLAMA3],
    "deepseek-r1-qwen": [ONE_DIGIT],
    "gpt-4o": [O200K],
    "tekken": [TEKKEN],
    "deepseek-v3": DEEPSEEK3,
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", O200K],
    "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
    "ufakzeka": [ONE_DIGIT.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)|", "")],
    "jais-2": [LLAMA3.replace(r"\s+(?!\S)|\s+", CASCADE)],
    "seed-coder": [ONE_DIGIT.replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
}


def byte_level() -> tuple[dict[str, int], list[tuple[str, str]]]:
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=1100, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(built.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def by_cuts(
    vocab: dict[str, int], merges: list[tuple[str, str]], cuts: list[str], ignore_merges: bool = False
) -> Encode:
    built = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def encode(text: str) -> list[int]:
        pieces = [text]
        for cut in cuts:
            pieces = [part for piece in pieces for part in apart(regex.compile(cut), piece)]
        return [token for piece in pieces for token in built.encode(piece).ids]

    return encode


def apart(cut: regex.Pattern[str], text: str) -> list[str]:
    """Matches and what is between them."""
    parts, at = [], 0
    for found in cut.finditer(text):
        parts += [text[at : found.start()], found[0]]
        at = found.end()
    return [part for part in [*parts, text[at:]] if part]


def of_class(kind: Any, vocab: dict[str, int], merges: list[tuple[str, str]]) -> Encode:
    made = kind(vocab=dict(vocab), merges=list(merges))._tokenizer
    bare = json.loads(made.to_str()) | {"added_tokens": []}
    built = tokenizers.Tokenizer.from_str(json.dumps(bare))
    return lambda text: built.encode(text, add_special_tokens=False).ids


def smollm(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Encode:
    built = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    built.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return lambda text: built.encode(text).ids


def sentence_piece(kind: str, **options: Any) -> tuple[dict[str, Any], Encode]:
    target = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS for line in text.split("\n") if line]),
        model_writer=target,
        model_type=kind,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(target.getvalue())
    spm = sentencepiece.SentencePieceProcessor(model_proto=target.getvalue())
    metadata = {
        "tokenizer.ggml.tokens": [p.piece.replace("▁", " ") if p.type == 4 else p.piece for p in proto.pieces],
        "tokenizer.ggml.scores": [round(p.score, 6) for p in proto.pieces],
        "tokenizer.ggml.token_type": [p.type for p in proto.pieces],
    }
    if proto.normalizer_spec.precompiled_charsmap:
        metadata["tokenizer.ggml.precompiled_charsmap"] = list(proto.normalizer_spec.precompiled_charsmap)
    return metadata, spm.encode


def word_piece(lower: bool) -> tuple[dict[str, Any], Encode]:
    built = tokenizers.BertWordPieceTokenizer(lowercase=lower)
    built.train_from_iterator(CORPUS, vocab_size=1500, show_progress=False)
    vocab = built.get_vocab()
    hugging = transformers.BertTokenizer(vocab=vocab, do_lower_case=lower)
    bare = json.loads(hugging._tokenizer.to_str()) | {"added_tokens": []}
    reference = tokenizers.Tokenizer.from_str(json.dumps(bare))
    words = sorted(vocab, key=vocab.__getitem__)
    special = {"[PAD]": 3, "[UNK]": 2, "[CLS]": 3, "[SEP]": 3, "[MASK]": 3}
    metadata = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": [
            word if word in special else word[2:] if word.startswith("##") else f"▁{word}" for word in words
        ],
        "tokenizer.ggml.token_type": [special.get(word, 1) for word in words],
        "tokenizer.ggml.unknown_token_id": vocab["[UNK]"],
        "tokenizer.ggml.cls_token_id": vocab["[CLS]"],
        "tokenizer.ggml.seperator_token_id": vocab["[SEP]"],
    }
    return metadata, lambda text: reference.encode(text, add_special_tokens=False).ids


def kinds() -> dict[str, tuple[dict[str, Any], Encode]]:
    found: dict[str, tuple[dict[str, Any], Encode]] = {}
    options: dict[str, Any] = {"vocab_size": 1500, "byte_fallback": True, "normalization_rule_name": "identity"}
    options |= {"remove_extra_whitespaces": False, "hard_vocab_limit": False, "character_coverage": 0.98}
    metadata, encode = sentence_piece("bpe", **options)
    found["llama"] = metadata | {"tokenizer.ggml.model": "llama"}, encode
    runs = ["\n", "\n\n", "\t", "▁▁", "▁▁▁", "▁▁▁▁", "<start_of_image>"]
    metadata, encode = sentence_piece(
        "bpe", **options, add_dummy_prefix=False, user_defined_symbols=runs, split_digits=True
    )
    more = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": False}
    found["gemma"] = metadata | more, encode
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:  # a small table of what NFKC would do
        pairs = [("\ufb01", "fi"), ("\u212b", "\u00c5"), ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\u2460", "1")]
        rules.writelines(f"{ord(old):X}\t{' '.join(f'{ord(new):X}' for new in news)}\n" for old, news in pairs)
        rules.flush()
        metadata, encode = sentence_piece(
            "unigram",
            vocab_size=1500,
            hard_vocab_limit=False,
            character_coverage=0.98,
            normalization_rule_tsv=rules.name,
        )
    found["t5"] = metadata | {"tokenizer.ggml.model": "t5", "tokenizer.ggml.unknown_token_id": 0}, encode
    found["bert"], found["bert-cased"] = word_piece(True), word_piece(False)

    vocab, merges = byte_level()
    classes = {
        "gpt-2": transformers.GPT2Tokenizer,
        "olmo": transformers.GPTNeoXTokenizer,
        "command-r": transformers.CohereTokenizer,
        "qwen2": transformers.Qwen2Tokenizer,
        "qwen35": Qwen3_5Tokenizer,
    }
    encoders: dict[str, Encode] = {pre: of_class(kind, vocab, merges) for pre, kind in classes.items()}
    encoders["smollm"] = smollm(vocab, merges)
    encoders |= {pre: by_cuts(vocab, merges, cuts, pre in ("tekken", "minicpm5")) for pre, cuts in CUTS.items()}
    encoders["llama-bpe"] = by_cuts(vocab, merges, [LLAMA3], True)
    shared = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": sorted(vocab, key=vocab.__getitem__),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
    }
    found["gpt-2"] = shared | {"tokenizer.ggml.pre": "gpt-2"}, encoders.pop("gpt-2")
    for pre, encoder in encoders.items():
        found[pre] = {"tokenizer.ggml.pre": pre, "like": "gpt-2"}, encoder
    return found


def gemma(header: Path) -> Encode:
    """SentencePiece over the pieces and scores of a GGUF's header; header: the file, or its first part."""
    fields = gguf_fields(header)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.trainer_spec.model_type, proto.trainer_spec.byte_fallback = 2, True  # BPE
    proto.normalizer_spec.add_dummy_prefix = proto.normalizer_spec.remove_extra_whitespaces = False
    for number, (text, score, kind) in enumerate(zip(*fields, strict=True)):
        unknown = number == 3
        proto.pieces.add(
            piece=text.replace(" ", "▁") if kind == 4 else text, score=float(score), type=2 if unknown else int(kind)
        )
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString()).encode


def gguf_fields(header: Path) -> tuple[Sequence[str], Sequence[float], Sequence[int]]:
    """Tokens, scores and types, read by PyPI gguf."""
    reader = gguf.GGUFReader(header)
    tokens, scores, kinds = (reader.fields[f"tokenizer.ggml.{key}"] for key in ("tokens", "scores", "token_type"))
    texts_of = [bytes(tokens.parts[at]).decode("utf-8") for at in tokens.data]
    return texts_of, [scores.parts[at][0] for at in scores.data], [kinds.parts[at][0] for at in kinds.data]


def main() -> None:
    strings = texts()
    if len(sys.argv) > 1:
        encode = gemma(Path(sys.argv[1]))
        GEMMA.write_text("".join(digest(encode(text)) for text in strings) + "\n", encoding="utf-8")
        return
    golden = {
        kind: {"metadata": metadata, "ids": "".join(digest(list(encode(text))) for text in strings)}
        for kind, (metadata, encode) in kinds().items()
    }
    lines = (f"{json.dumps(kind)}: {json.dumps(entry, ensure_ascii=False)}" for kind, entry in golden.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
