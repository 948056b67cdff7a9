"""Writes a tiny llama model (tests/model/tiny.py) as a Hugging Face or an MLC folder. Shares no code with formats/."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference import mlc

_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_CHATML = {
    "name": "chatml",
    "system_template": "<|im_start|>system\n{system_message}<|im_end|>\n",
    "system_message": "",
    "roles": {"user": "<|im_start|>user", "assistant": "<|im_start|>assistant"},
    "role_templates": {"user": "{user_message}", "assistant": "{assistant_message}"},
    "messages": [],
    "seps": ["<|im_end|>\n"],
    "role_content_sep": "\n",
    "role_empty_sep": "\n",
    "stop_str": ["<|im_end|>"],
    "stop_token_ids": [2],
}


def bf16(values: np.ndarray) -> np.ndarray:
    """float32 → u16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values as a file of `dtype` keeps them."""
    if dtype == "BF16":
        return (bf16(values).astype(np.uint32) << 16).view(np.float32)
    return values.astype(_DTYPES[dtype]).astype(np.float32)


def encode_safetensors(
    tensors: Mapping[str, np.ndarray], dtype: str, *, changes: Mapping[str, Any] | None = None, pad: int = 0
) -> bytes:
    """changes: entries of the head, or fields of them, that replace what a sound file says. pad: spaces behind it."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        kind = "I64" if values.dtype == np.int64 else dtype
        raw = (bf16(values) if kind == "BF16" else values.astype(_DTYPES[kind])).tobytes()
        head[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    for name, change in (changes or {}).items():
        head[name] = {**head[name], **change} if isinstance(change, dict) and name in head else change
    text = json.dumps(head).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def huggingface_tensors(metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """GGUF's names to Hugging Face's; q and k with the halves of a head one behind the other instead of interleaved."""
    found: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        parts = name.split(".")
        if parts[0] != "blk":
            found[f"{_TOP[parts[0]]}.weight"] = values
            continue
        if parts[2] in ("attn_q", "attn_k"):
            heads = metadata["llama.attention.head_count" + ("_kv" if parts[2] == "attn_k" else "")]
            values = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        found[f"model.layers.{parts[1]}.{_PARTS[parts[2]]}.weight"] = values
    return found


def head_width(metadata: Mapping[str, Any]) -> int:
    heads = metadata["llama.attention.head_count"]
    return metadata.get("llama.attention.key_length", metadata["llama.embedding_length"] // heads)


def config(metadata: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The config.json of a tiny llama."""
    return {
        "model_type": "llama",
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "head_dim": head_width(metadata),
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": metadata["llama.rope.freq_base"],
        "vocab_size": metadata["llama.vocab_size"],
        **more,
    }


def write_json(path: Path, value: Any) -> None:
    """value as a file."""
    path.write_text(json.dumps(value), encoding="utf-8")


def write_tokenizer(folder: Path, metadata: Mapping[str, Any]) -> None:
    """tokenizer.json and its config, from a GGUF's metadata."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": i, "content": token, "special": True, **flags}
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == 3
    ]
    vocab = {token: i for i, token in enumerate(tokens)}
    definition = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": _BYTES,
        "decoder": _BYTES,
        "model": {"type": "BPE", "vocab": vocab, "merges": metadata["tokenizer.ggml.merges"]},
    }
    write_json(folder / "tokenizer.json", definition)
    template = metadata["tokenizer.chat_template"]
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "chat_template": template})


def write_huggingface(
    folder: Path, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray], dtype: str, *, files: int = 1
) -> Path:
    """tensors: GGUF's names and float32 values."""
    folder.mkdir()
    write_json(folder / "config.json", config(metadata))
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 0]})
    write_tokenizer(folder, metadata)
    found = huggingface_tensors(metadata, tensors)
    found["model.layers.0.self_attn.rotary_emb.counts"] = np.arange(3)  # int64, of no use to anybody
    names = list(found)
    places: dict[str, str] = {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors" if files > 1 else "model.safetensors"
        own = names[number::files]
        (folder / file).write_bytes(encode_safetensors({name: found[name] for name in own}, dtype, pad=number))
        places |= dict.fromkeys(own, file)
    if files > 1:
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return folder


def mlc_tensors(metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hugging Face's names with q, k, v in one and gate and up in one."""
    found = huggingface_tensors(metadata, tensors)
    for layer in range(metadata["llama.block_count"]):
        stem = f"model.layers.{layer}."
        for joined, parts in (("self_attn.qkv_proj", "qkv"), ("mlp.gate_up_proj", ("gate", "up"))):
            owner = joined.split(".")[0]
            values = [found.pop(f"{stem}{owner}.{part}_proj.weight") for part in parts]
            found[f"{stem}{joined}.weight"] = np.concatenate(values)
    return found


def write_mlc(
    folder: Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    name: str,
    *,
    cache: str = "tensor-cache.json",
    shards: int = 2,
) -> dict[str, np.ndarray]:
    """The folder of quantization `name`. Returns the float32 values that its reader gets, by MLC's names."""
    folder.mkdir()
    more = {"quantization": name, "model_type": "llama", "eos_token_id": 2, "conv_template": _CHATML}
    write_json(folder / "mlc-chat-config.json", {**more, "model_config": config(metadata)})
    write_tokenizer(folder, metadata)
    stored: list[tuple[str, str, str, np.ndarray, tuple[int, ...]]] = []  # name, dtype, format, raw, shape
    kept: dict[str, np.ndarray] = {}

    def floats(tensor: str, values: np.ndarray) -> np.ndarray:
        """As MLC stores them; what a reader gets."""
        if "f32" in name:
            stored.append((tensor, "float32", "f32-to-bf16", bf16(values), values.shape))
            return rounded(values, "BF16")
        stored.append((tensor, "float16", "f32-to-bf16", values.astype("<f2"), values.shape))
        return rounded(values, "F16")

    for tensor, values in mlc_tensors(metadata, tensors).items():
        stem = tensor.removesuffix(".weight")
        if values.ndim == 1 or name.startswith("q0"):
            kept[tensor] = floats(tensor, values)
            continue
        straight = name == "q4f16_0" and "embed_tokens" in tensor
        words, scale = mlc.quantize("q4f16_1" if straight else name, values)
        stored.append((f"{stem}.q_weight", "uint32", "f32-to-bf16", words, words.shape))
        read = floats(f"{stem}.q_scale", scale)
        kept[tensor] = mlc.dequantize("q4f16_1" if straight else name, words, read, values.shape[1])
    write_shards(folder / cache, stored, shards)
    return kept


def write_shards(cache: Path, stored: list[tuple[str, str, str, np.ndarray, tuple[int, ...]]], shards: int) -> None:
    """stored: name, dtype, format, what the file holds, shape."""
    records = []
    for number in range(shards):
        entries, data = [], b""
        for tensor, dtype, form, raw, shape in stored[number::shards]:
            entry = {"name": tensor, "shape": list(shape), "dtype": dtype, "format": form}
            entries.append({**entry, "nbytes": raw.nbytes, "byteOffset": len(data)})
            data += np.ascontiguousarray(raw).tobytes()
        file = f"params_shard_{number}.bin"
        (cache.parent / file).write_bytes(data)
        records.append({"dataPath": file, "format": "raw-shard", "nbytes": len(data), "records": entries})
    write_json(cache, {"metadata": {"ParamSize": len(stored)}, "records": records})


def from_mlc(metadata: Mapping[str, Any], kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What write_mlc returned, by GGUF's names and with its order of q and k."""
    width = head_width(metadata)
    q, kv = metadata["llama.attention.head_count"] * width, metadata["llama.attention.head_count_kv"] * width
    ffn = metadata["llama.feed_forward_length"]
    found: dict[str, np.ndarray] = {}
    for name, values in kept.items():
        parts = name.split(".")
        if parts[1] != "layers":
            found[{v: k for k, v in _TOP.items()}[name.removesuffix(".weight")] + ".weight"] = values
            continue
        block, part = f"blk.{parts[2]}.", ".".join(parts[3:-1])
        if part == "self_attn.qkv_proj":
            for tensor, rows in zip("qkv", np.split(values, [q, q + kv]), strict=True):
                heads = len(rows) // width
                turned = rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
                found[f"{block}attn_{tensor}.weight"] = rows if tensor == "v" else turned
        elif part == "mlp.gate_up_proj":
            found[f"{block}ffn_gate.weight"], found[f"{block}ffn_up.weight"] = values[:ffn], values[ffn:]
        else:
            found[block + {v: k for k, v in _PARTS.items()}[part] + ".weight"] = values
    return found
