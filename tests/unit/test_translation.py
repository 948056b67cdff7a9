"""Names of Hugging Face and MLC in GGUF's vocabulary."""

import math

import pytest

from local_llm.formats.translation import metadata, pooling, tensor_names


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.11.self_attn.q_proj.bias", "blk.11.attn_q.bias"),
        ("model.layers.0.self_attn.c_attn.weight", "blk.0.attn_qkv.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ("model.layers.0.mlp.gate_up_proj.weight", "blk.0.ffn_up.weight"),
        ("model.language_model.layers.2.mlp.down_proj.weight", "blk.2.ffn_down.weight"),
        ("language_model.model.norm.weight", "output_norm.weight"),
        ("transformer.embd.weight", "token_embd.weight"),
        ("transformer.h.3.mixer.out_proj.weight", "blk.3.attn_output.weight"),
        ("transformer.h.3.ln.weight", "blk.3.attn_norm.weight"),
        ("encoder.layer.5.attention.output.LayerNorm.bias", "blk.5.attn_output_norm.bias"),
        ("bert.embeddings.LayerNorm.weight", "token_embd_norm.weight"),
    ],
)
def test_tensor_names(name, wanted):
    assert tensor_names([name]) == {name: wanted}


def test_norms_behind_the_attention_are_told_from_those_before_the_feed_forward():
    start = "model.layers.1."
    names = tensor_names([start + "post_attention_layernorm.weight", start + "post_feedforward_layernorm.weight"])
    assert list(names.values()) == ["blk.1.post_attention_norm.weight", "blk.1.post_ffw_norm.weight"]


def test_names_that_no_family_wants_are_left_out():
    assert tensor_names(["pooler.dense.weight", "vision_tower.blocks.0.norm.weight"]) == {}


def test_a_config_with_scaling_of_llama3():
    values = metadata(
        {
            "model_type": "llama",
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "rope_theta": 500000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        }
    )
    assert values["general.architecture"] == "llama"
    assert values["llama.attention.key_length"] == values["llama.rope.dimension_count"] == 64
    assert values["llama.rope.freq_base"] == 500000.0
    assert values["llama.rope.scaling.type"] == "llama3"
    assert values["llama.rope.scaling.high_freq_factor"] == 4.0


def test_two_bases_and_a_pattern_of_windows():
    values = metadata(
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text",
                "head_dim": 256,
                "query_pre_attn_scalar": 256,
                "sliding_window": 512,
                "layer_types": ["sliding_attention", "full_attention"],
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                },
            },
        }
    )
    assert values["general.architecture"] == "gemma3"
    assert values["gemma3.rope.freq_base"] == 1e6
    assert values["gemma3.rope.freq_base_swa"] == 10000.0
    assert values["gemma3.rope.scaling.type"] == "linear"
    assert values["gemma3.attention.sliding_window_pattern"] == [True, False]
    assert values["gemma3.attention.scale"] == 1 / 16


def test_part_of_a_head_turns_and_yarn_has_a_factor_of_its_own():
    yarn = {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.0, "partial_rotary_factor": 0.75}
    shape = {"hidden_size": 512, "num_attention_heads": 4}
    values = metadata({"model_type": "phi3", **shape, "rope_parameters": yarn})
    assert values["phi3.rope.dimension_count"] == 96
    assert values["phi3.rope.scaling.attn_factor"] * (1 + 0.1 * math.log(4)) == pytest.approx(1)
    values = metadata({"model_type": "phi3", **shape, "partial_rotary_factor": 0.5})
    assert values["phi3.rope.dimension_count"] == 64


def test_longrope_keeps_the_trained_context_where_the_folder_asks_for_a_shorter_one():
    longrope = {"type": "longrope", "long_factor": [2.0], "short_factor": [1.0], "max_position_embeddings": 131072}
    config = {"model_type": "phi3", "context_window_size": 4096, "original_max_position_embeddings": 4096}
    values = metadata({**config, "rope_scaling": longrope})
    assert values["phi3.context_length"] == 4096
    assert values["phi3.rope.scaling.factor"] == 32


def test_a_window_that_is_not_used_is_no_window():
    values = metadata({"model_type": "qwen2", "sliding_window": 32768, "use_sliding_window": False})
    assert "qwen2.attention.sliding_window" not in values


def test_an_unknown_kind_keeps_its_name():
    assert metadata({"model_type": "mamba"})["general.architecture"] == "mamba"


def test_how_a_sentence_transformer_pools():
    assert pooling({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}) == {"bert.pooling_type": 2}
    assert pooling({}) == {}
