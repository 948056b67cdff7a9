"""A tiny random `llama` model as a real GGUF file, from a seed: every part of the real thing, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference.gguf_writer import Stored, restore, store, write_gguf

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (
    *("Ġ t", "h e", "Ġt he", "i n", "e r", "o n", "a n", "r e", "Ġ a", "Ġ s", "o u", "i s", "e n", "a t"),
    *("Ġ Ġ", "ĠĠ ĠĠ", "in g", "an d", "Ġ and", "l l", "Ġ c", "Ġ w", "e s", "o r", "Ċ Ċ", "ð Ł", "ðŁ ĺ"),
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """What was written. tensors: what a reader of the file gets, as float32 [out, in]."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray] = field(repr=False)


def alphabet() -> list[str]:
    """The 256 characters that stand for the bytes, in the order of GPT-2's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def tiny_tokens() -> list[str]:
    """Control tokens, bytes, merged tokens: 286, a number that no workgroup divides."""
    return [*CONTROL, *alphabet(), *(merge.replace(" ", "") for merge in MERGES)]


def tiny_metadata(
    *, width: int, layers: int, heads: int, kv_heads: int, head_width: int, ffn: int, context: int
) -> dict[str, Any]:
    tokens = tiny_tokens()
    return {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "llama.block_count": layers,
        "llama.context_length": context,
        "llama.embedding_length": width,
        "llama.feed_forward_length": ffn,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.key_length": head_width,
        "llama.attention.value_length": head_width,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": head_width,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(tokens) - len(CONTROL)),
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


def write_tiny_gguf(
    path: Path,
    seed: int = 0,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_width: int = 16,
    ffn: int = 96,
    context: int = 256,
    types: str | Sequence[str] = "F32",
    tied: bool = True,
    rope_divisors: Sequence[float] | None = None,
    version: int = 3,
    metadata: Mapping[str, Any] | None = None,
) -> Tiny:
    """Write the model of `seed` to path.

    types: the storage type of all matrices, or several, dealt out in turn (norms stay F32).
    rope_divisors: the tensor rope_freqs.weight, [head_width / 2] (Llama 3's scaling).
    metadata: more entries, or other values, for example {"llama.rope.scaling.type": "linear",
    "llama.rope.scaling.factor": 2.0}; None takes an entry out.
    """
    random = np.random.default_rng(seed)
    kinds = cycle([types] if isinstance(types, str) else types)
    values = tiny_metadata(
        width=width, layers=layers, heads=heads, kv_heads=kv_heads, head_width=head_width, ffn=ffn, context=context
    ) | dict(metadata or {})
    values = {key: value for key, value in values.items() if value is not None}
    stored: dict[str, Stored] = {}

    def matrix(name: str, rows: int, cols: int, gain: float) -> None:
        weights = random.standard_normal((rows, cols), np.float32) * np.float32(gain / cols**0.5)
        stored[f"{name}.weight"] = store(weights, next(kinds))

    def norm(name: str) -> None:
        weights = 1 + 0.2 * random.standard_normal(width, np.float32)
        stored[f"{name}.weight"] = store(weights.astype(np.float32), "F32")

    matrix("token_embd", len(tiny_tokens()), width, width**0.5)
    if rope_divisors is not None:
        stored["rope_freqs.weight"] = store(np.asarray(rope_divisors, np.float32), "F32")
    for layer in range(layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        matrix(f"{block}.attn_q", heads * head_width, width, 1.5)
        matrix(f"{block}.attn_k", kv_heads * head_width, width, 1.5)
        matrix(f"{block}.attn_v", kv_heads * head_width, width, 1.5)
        matrix(f"{block}.attn_output", width, heads * head_width, 2.0)
        norm(f"{block}.ffn_norm")
        matrix(f"{block}.ffn_gate", ffn, width, 1.5)
        matrix(f"{block}.ffn_up", ffn, width, 1.5)
        matrix(f"{block}.ffn_down", width, ffn, 3.0)
    norm("output_norm")
    if not tied:
        matrix("output", len(tiny_tokens()), width, 3.0)
    write_gguf(path, values, stored, version=version)
    return Tiny(path, values, {name: restore(tensor) for name, tensor in stored.items()})
