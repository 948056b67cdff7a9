"""Writes GGUF files with random weights in the real shapes of known models, for machines that cannot download them.

    python3 bench/make_model.py llama-3.2-1b --type Q4_0 --out dist/models/llama-3.2-1b.gguf

Speed depends on shapes and types only, so all are of the architecture `llama` but those whose attention has more to do.
Needs numpy and nothing of local_llm.
"""

from __future__ import annotations

import argparse
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

ALIGNMENT = 32
NAMED = 1000  # the first tokens are found in a text by their names: an engine that takes text only can be given them


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    vocab: int
    tied: bool
    architecture: str = "llama"  # or "qwen2", with biases of q, k and v, or "qwen3", with norms of q and k


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 16, 96, 512, True),
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, True),
    "smollm2-360m": Shape(32, 960, 15, 5, 64, 2560, 49152, True),
    "qwen2.5-0.5b": Shape(24, 896, 14, 2, 64, 4864, 151936, True, "qwen2"),
    "qwen3-0.6b": Shape(28, 1024, 16, 8, 128, 3072, 151936, True, "qwen3"),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, 128256, True),
    "llama-3.2-3b": Shape(28, 3072, 24, 8, 128, 8192, 128256, True),
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, 128256, False),
}

# ggml code, weights per block, bytes per block, halves at the block's start (scale, minimum)
TYPES = {"F32": (0, 1, 4, 0), "Q4_0": (2, 32, 18, 1), "Q4_1": (3, 32, 20, 2), "Q8_0": (8, 32, 34, 1)}


def metadata(name: str, shape: Shape) -> dict[str, Any]:
    vocab = [f"<{i}>" for i in range(shape.vocab)]
    numbers = {
        "block_count": shape.layers,
        "embedding_length": shape.width,
        "feed_forward_length": shape.ffn,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_width,
        "attention.value_length": shape.head_width,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 500000.0,
        "rope.dimension_count": shape.head_width,
        "context_length": 8192,
    }
    return {
        "general.architecture": shape.architecture,
        "general.name": f"random {name}",
        **{f"{shape.architecture}.{key}": value for key, value in numbers.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": vocab,
        "tokenizer.ggml.token_type": np.where(np.arange(shape.vocab) < NAMED, 4, 1).astype(np.int32),
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }


def tensors(shape: Shape, kind: str) -> list[tuple[str, tuple[int, int], str]]:
    """(name, (rows, cols), type): the embedding is Q8_0, as quantized files keep it."""
    d, q, kv = shape.width, shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    listed = [("token_embd.weight", (shape.vocab, d), "Q8_0" if shape.tied else kind)]
    for i in range(shape.layers):
        b = f"blk.{i}."
        listed += [
            (b + "attn_norm.weight", (1, d), "F32"),
            (b + "attn_q.weight", (q, d), kind),
            (b + "attn_k.weight", (kv, d), kind),
            (b + "attn_v.weight", (kv, d), kind),
            (b + "attn_output.weight", (d, q), kind),
            (b + "ffn_norm.weight", (1, d), "F32"),
            (b + "ffn_gate.weight", (shape.ffn, d), kind),
            (b + "ffn_up.weight", (shape.ffn, d), kind),
            (b + "ffn_down.weight", (d, shape.ffn), kind),
        ]
        if shape.architecture == "qwen2":
            listed += [(f"{b}attn_{name}.bias", (1, rows), "F32") for name, rows in (("q", q), ("k", kv), ("v", kv))]
        if shape.architecture == "qwen3":
            listed += [(f"{b}attn_{name}_norm.weight", (1, shape.head_width), "F32") for name in ("q", "k")]
    listed.append(("output_norm.weight", (1, d), "F32"))
    if not shape.tied:
        listed.append(("output.weight", (shape.vocab, d), "Q8_0"))
    return listed


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", 9, 5, value.size) + value.astype("<i4").tobytes()
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))


def _bytes(shape: tuple[int, int], kind: str) -> int:
    _, block, nbytes, _ = TYPES[kind]
    return shape[0] * (shape[1] // block) * nbytes


def _write_tensor(out: IO[bytes], shape: tuple[int, int], kind: str, rng: np.random.Generator) -> None:
    _, block, nbytes, halves = TYPES[kind]
    if kind == "F32":
        out.write(np.ones(shape, "<f4").tobytes())
        return
    left = shape[0] * shape[1] // block
    span = 1 / np.sqrt(shape[1]) / (127 if kind == "Q8_0" else 8)
    while left:
        count = min(left, 1 << 20)
        data = rng.integers(0, 256, (count, nbytes), np.uint8)
        scales = np.full((count, halves), span, "<f2")
        if halves == 2:
            scales[:, 1] = -8 * span
        data[:, : 2 * halves] = scales.view(np.uint8)
        out.write(data.tobytes())
        left -= count


def write(path: Path, name: str, kind: str, seed: int = 0) -> int:
    """Write the file; returns its size in bytes."""
    shape = SHAPES[name]
    listed, values = tensors(shape, kind), metadata(name, shape)
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(values)))
        for key, value in values.items():
            out.write(_string(key) + _value(value))
        offset = 0
        for tensor, size, sort in listed:
            dims = (size[1],) if size[0] == 1 else (size[1], size[0])
            out.write(_string(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[sort][0], offset))
            offset += -(-_bytes(size, sort) // ALIGNMENT) * ALIGNMENT
        for _, size, sort in listed:
            out.write(bytes(-out.tell() % ALIGNMENT))
            _write_tensor(out, size, sort, rng)
        return out.tell()


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("name", choices=SHAPES)
    p.add_argument("--type", choices=["Q4_0", "Q4_1", "Q8_0"], default="Q4_0")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    print(f"{args.out}: {write(args.out, args.name, args.type, args.seed):,} bytes")


if __name__ == "__main__":
    main()
