"""Hugging Face's weights and config as llama.cpp's conversion writes them to GGUF. Never shipped.

Names of tensors come from the `gguf` package; permutation, 1 + w, and metadata are written down here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import gguf  # pyright: ignore[reportMissingImports]
import numpy as np

from tests.model.tiny import tiny_metadata
from tests.reference.gguf_writer import Stored, store, write_gguf

ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3", "olmo3": "olmo2", "ministral3": "mistral3"}
_PERMUTED = {"llama", "granite", "smollm3", "mistral3"}


def write_converted(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    kinds: str | Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a GGUF with matrices of these types in turn, and `extra` metadata; the tokenizer is tiny.py's."""
    types = cycle([kinds] if isinstance(kinds, str) else kinds)
    architecture = str(ARCHITECTURES.get(config["model_type"], config["model_type"]))
    if architecture == "gemma3" and config.get("use_bidirectional_attention"):
        architecture = "gemma-embedding"
    tensors = {
        name: store(value, next(types) if value.ndim > 1 and ".conv." not in name else "F32")
        for name, value in converted(architecture, config, weights).items()
    }
    values = {"general.architecture": architecture, **tokenizer_metadata()}
    values |= {f"{architecture}.{key}": value for key, value in metadata(architecture, config).items()}
    tensors |= _rope_tensors(config)
    return write_gguf(path, values | dict(extra or {}), tensors)


def tokenizer_metadata() -> dict[str, Any]:
    """Metadata of tiny.py's tokenizer."""
    shape = {"width": 1, "layers": 1, "heads": 1, "kv_heads": 1, "head_width": 1, "ffn": 1, "context": 1}
    return {key: value for key, value in tiny_metadata(**shape).items() if key.startswith("tokenizer.")}


def converted(architecture: str, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by GGUF's names."""
    code = next(code for code, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(code, config["num_hidden_layers"])
    heads = config.get("num_attention_heads", 1)
    tensors: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if name.startswith("dense_"):
            tensors[name] = value
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, f"gguf has no name for {name}"
        if architecture in _PERMUTED and ".q_proj." in name:
            value = _permute(value, heads)
        if architecture in _PERMUTED and ".k_proj." in name:
            value = _permute(value, config.get("num_key_value_heads", heads))
        if architecture.startswith("gemma") and "norm" in name:
            value = value + 1
        tensors[new] = value.squeeze(1) if value.ndim == 3 else value
    return tensors


def _permute(value: np.ndarray, heads: int) -> np.ndarray:
    """Rows i and i + E/2 of each head become neighbours."""
    return value.reshape(heads, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def metadata(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """GGUF's keys below the architecture. What llama.cpp knows by itself (patterns, Gemma's scale) is left out."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_width = config.get("head_dim", width // heads)
    values = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": width,
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads", heads),
        "attention.key_length": head_width,
        "attention.value_length": head_width,
    }
    plain = {
        "norm_eps": "attention.layer_norm_rms_epsilon",
        "conv_L_cache": "shortconv.l_cache",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "layer_norm_eps": "attention.layer_norm_epsilon",
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
        "sliding_window": "attention.sliding_window",
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "logits_scaling": "logit_scale",
        "attention_multiplier": "attention.scale",
    }
    values |= {new: config[key] for key, new in plain.items() if config.get(key) is not None}
    if architecture == "lfm2":
        kv = config["num_key_value_heads"]
        values["attention.head_count_kv"] = [0 if kind == "conv" else kv for kind in config["layer_types"]]
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    values["rope.freq_base"] = float(rope.get("rope_theta", 10000.0))
    values["rope.dimension_count"] = int(head_width * rope.get("partial_rotary_factor", 1.0))
    original = rope.get("original_max_position_embeddings", 1)
    if rope.get("rope_type") == "yarn":
        values["rope.scaling.type"] = "yarn"
        values["rope.scaling.factor"] = rope["factor"]
        values["rope.scaling.original_context_length"] = original
        if rope.get("mscale_all_dim"):
            values["rope.scaling.yarn_log_multiplier"] = rope["mscale_all_dim"]
    if rope.get("rope_type") == "longrope":
        values["rope.scaling.original_context_length"] = original
        factor = config["max_position_embeddings"] / original
        values["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(factor) / math.log(original))
    return values


def _rope_tensors(config: Mapping[str, Any]) -> dict[str, Stored]:
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "longrope":
        kinds = ("long", "short")
        return {f"rope_factors_{k}.weight": store(np.asarray(rope[f"{k}_factor"], np.float32), "F32") for k in kinds}
    if rope.get("rope_type") != "llama3":
        return {}
    width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    wave = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    original, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    smooth = (original / wave - low) / (high - low)
    between = 1 / ((1 - smooth) / rope["factor"] + smooth)
    divisors = np.where(wave < original / high, 1.0, np.where(wave > original / low, rope["factor"], between))
    return {"rope_freqs.weight": store(divisors.astype(np.float32), "F32")}
