"""Hugging Face's and MLC's names in GGUF's vocabulary: tensor names, and config.json as metadata. Reads no file.

MLC's mlc-chat-config.json has the same keys under `model_config`; its tensor names are Hugging Face's but for Phi-3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

ARCHITECTURES = {  # model_type → general.architecture, where they differ
    "mistral": "llama",
    "gemma3_text": "gemma3",
    "olmo3": "olmo2",
    "ministral3": "mistral3",
}

_PREFIXES = re.compile(r"^(?:(?:model\.)?language_model\.(?:model\.)?|bert\.|model\.|transformer\.)")
_LAYER = re.compile(r"^(?:encoder\.)?(?:layers|layer|h)\.(\d+)\.(.+)\.(weight|bias)$")
_TOP = {
    "embed_tokens": "token_embd",
    "embd": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "embedding_norm": "token_embd_norm",
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_BLOCK = {
    "input_layernorm": "attn_norm",
    "ln": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.c_attn": "attn_qkv",
    "mixer.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "mixer.out_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "operator_norm": "attn_norm",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "self_attn.out_proj": "attn_output",
    "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up",
    "feed_forward.w2": "ffn_down",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tensor_names(names: Iterable[str]) -> dict[str, str]:
    """GGUF's name of each tensor of a model; names that mean nothing to us (BERT's pooler) are left out.

    names: all of one model's, ending in `.weight` or `.bias` (MLC's `X.q_weight` is to be given as `X.weight`).
    """
    wanted = list(names)
    after = any(".post_feedforward_layernorm." in name for name in wanted)  # then attention has a norm behind it too
    known = dict(_BLOCK, post_attention_layernorm="post_attention_norm") if after else _BLOCK
    found: dict[str, str] = {}
    for name in wanted:
        short = _PREFIXES.sub("", name)
        layer = _LAYER.match(short)
        if layer and layer[2] in known:
            found[name] = f"blk.{layer[1]}.{known[layer[2]]}.{layer[3]}"
        stem, _, kind = short.rpartition(".")
        if stem in _TOP:
            found[name] = f"{_TOP[stem]}.{kind}"
    return found


_PLAIN = {  # config.json's key → GGUF's, below the architecture
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "context_window_size": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "norm_eps": "attention.layer_norm_rms_epsilon",
    "conv_L_cache": "shortconv.l_cache",
    "layer_norm_eps": "attention.layer_norm_epsilon",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
    "attention_multiplier": "attention.scale",
    "position_embedding_base": "rope.freq_base",
    "rope_theta": "rope.freq_base",
    "rope_local_base_freq": "rope.freq_base_swa",
}
_ROPE = {
    "rope_theta": "rope.freq_base",
    "factor": "rope.scaling.factor",
    "original_max_position_embeddings": "rope.scaling.original_context_length",
    "attention_factor": "rope.scaling.attn_factor",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "low_freq_factor": "rope.scaling.low_freq_factor",
    "high_freq_factor": "rope.scaling.high_freq_factor",
    "long_factor": "rope.scaling.long_factors",
    "short_factor": "rope.scaling.short_factors",
}


def metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """GGUF's metadata from a config.json (or MLC's model_config): everything but the tokenizer's.

    Models that see and read keep the language model under `text_config`; the rest of them is not looked at.
    """
    inner = config.get("text_config")
    if isinstance(inner, Mapping):
        config = {**config, **inner}
    kind = str(config.get("model_type", ""))
    values: dict[str, Any] = {key: config[name] for name, key in _PLAIN.items() if config.get(name) is not None}
    values |= _rope(config) | _windows(config)
    if "conv" in (config.get("layer_types") or ()):  # such layers have no heads, as GGUF says it
        heads_of = {"conv": 0}
        kinds = config["layer_types"]
        values["attention.head_count_kv"] = [heads_of.get(kind, config["num_key_value_heads"]) for kind in kinds]
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    head = config.get("head_dim") or (width // heads if isinstance(width, int) and isinstance(heads, int) else None)
    if isinstance(head, int):
        values["attention.key_length"] = values["attention.value_length"] = head
        turning = (config.get("rope_parameters") or config).get("partial_rotary_factor")
        values["rope.dimension_count"] = int(head * (turning or config.get("partial_rotary_factor") or 1.0))
    if config.get("query_pre_attn_scalar"):
        values["attention.scale"] = config["query_pre_attn_scalar"] ** -0.5
    architecture = ARCHITECTURES.get(kind, kind)
    if architecture == "gemma3" and config.get("use_bidirectional_attention"):
        architecture = "gemma-embedding"
    return {"general.architecture": architecture} | {f"{architecture}.{key}": v for key, v in values.items()}


def pooling(config: Mapping[str, Any]) -> dict[str, Any]:
    """A sentence transformer's pooling, `1_Pooling/config.json`, as an encoder's metadata."""
    kinds = {"pooling_mode_mean_tokens": 1, "pooling_mode_cls_token": 2, "pooling_mode_lasttoken": 3}
    chosen = [kind for key, kind in kinds.items() if config.get(key) is True]
    return {"bert.pooling_type": chosen[0]} if chosen else {}


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Bases and scaling, from `rope_theta` and `rope_scaling` or what newer files have, `rope_parameters`."""
    values: dict[str, Any] = {}
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "full_attention" in rope:
        values["rope.freq_base_swa"] = (rope.get("sliding_attention") or {}).get("rope_theta", 10000.0)
        rope = rope["full_attention"]
    values |= {key: rope[name] for name, key in _ROPE.items() if rope.get(name) is not None}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "yarn":
        values |= _yarn_magnitude(rope)
    values["rope.scaling.type"] = {"default": "none", "su": "longrope"}.get(kind, kind)
    if config.get("original_max_position_embeddings"):
        values["rope.scaling.original_context_length"] = config["original_max_position_embeddings"]
    longest = rope.get("max_position_embeddings") or config.get("max_position_embeddings")
    original = values.get("rope.scaling.original_context_length")
    if values["rope.scaling.type"] == "longrope" and longest and original:  # MLC's context may be shorter than trained
        values.setdefault("rope.scaling.factor", longest / original)
    if config.get("no_rope_layers"):
        values["rope.pattern"] = [bool(turns) for turns in config["no_rope_layers"]]
    return values


def _yarn_magnitude(rope: Mapping[str, Any]) -> dict[str, Any]:
    """GGUF's attn_factor multiplies the magnitude that YaRN's factor implies; Hugging Face's replaces it."""
    implied = 1 + 0.1 * math.log(rope["factor"])
    if rope.get("attention_factor"):
        return {"rope.scaling.attn_factor": rope["attention_factor"] / implied}
    own, taken = rope.get("mscale"), rope.get("mscale_all_dim")
    if own and taken:
        ratio = (1 + 0.1 * own * math.log(rope["factor"])) / (1 + 0.1 * taken * math.log(rope["factor"]))
        return {"rope.scaling.attn_factor": ratio / implied}
    return {}


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return {}
    values: dict[str, Any] = {"attention.sliding_window": config["sliding_window"]}
    if config.get("layer_types"):
        values["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in config["layer_types"]]
    return values
