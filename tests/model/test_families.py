"""Tiny models of every family against what Hugging Face transformers computes in f32 from the same weights.

Prompt and continuation go the way of prompts, then every token goes the way of decoding.
"""

from itertools import cycle

import numpy as np
import pytest

from tests.model.golden import NAMES, load_golden
from tests.reference import tolerance
from tests.reference.convert import tokenizer_metadata, write_converted
from tests.reference.folders import encode_safetensors, write_json, write_shards, write_tokenizer
from tests.reference.gguf_writer import restore, store

FEATURES = [
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "olmo2",
    "mistral-window",
    "phi4-mini",
    "lfm2",
    "gemma",
    "granite",
    "ministral3",
    "smollm3",
]  # of kernels, all of them
CONTEXT = {"phi4-mini": 128}  # its longrope then takes the factors for short contexts, as the reference does


async def compare(service, path, name, steps=48):
    golden = load_golden(name)
    best = np.sort(golden.logits, -1)
    clear = best[:, -1] - best[:, -2] > 0.05
    await service.init(str(path), context_size=CONTEXT.get(name))
    engine = service._require().engine
    for got in (await engine.logits(golden.ids), await engine.logits(golden.ids[:steps], 1)):
        sure = clear[: len(got)]
        np.testing.assert_array_equal(got.argmax(-1)[sure], golden.logits[: len(got)].argmax(-1)[sure])
        np.testing.assert_allclose(got, golden.logits[: len(got)], **tolerance.GOLDEN)


def gguf(tmp_path, name, kind="F32"):
    golden = load_golden(name)
    return write_converted(tmp_path / f"{name}.gguf", golden.config, golden.weights, kind)


@pytest.mark.parametrize("name", NAMES)
async def test_gguf(llm, tmp_path, name):
    await compare(llm, gguf(tmp_path, name), name)


@pytest.mark.parametrize("name", FEATURES)
async def test_the_kernels_for_gpus(gpu_llm, tmp_path, name):
    await compare(gpu_llm, gguf(tmp_path, name), name, steps=20)  # past the windows of 12 and 16


async def test_biases_where_q_k_and_v_are_of_different_types(llm, tmp_path):
    golden, kinds = load_golden("qwen2"), ["Q8_0", "Q4_1", "F16", "Q5_0", "Q4_0"]
    path = write_converted(tmp_path / "mixed.gguf", golden.config, golden.weights, kinds)
    types = cycle(kinds)
    read = {
        name: restore(store(values, next(types))) if values.ndim > 1 else values
        for name, values in golden.weights.items()
    }
    plain = write_converted(tmp_path / "plain.gguf", golden.config, read, "F32")
    await llm.init(str(plain))
    wanted = await llm.logits(golden.ids)
    await llm.init(str(path))
    engine = llm._require().engine
    assert len(engine._model.weights.matrices["blk.0.qkv"]) == 3
    for got in (await engine.logits(golden.ids), await engine.logits(golden.ids[:8], 1)):
        np.testing.assert_allclose(got, wanted[: len(got)], **tolerance.MODEL)


@pytest.mark.parametrize("name", ["qwen2", "gemma3", "lfm2"])
async def test_greedy_continuation(llm, tmp_path, name):
    """The prompt's beginning is in the cache from a request before."""
    golden = load_golden(name)
    await llm.init(str(gguf(tmp_path, name)))
    await llm.complete(golden.ids[:30], max_tokens=1, ignore_eos=True)
    reply = await llm.complete(golden.ids[:40], max_tokens=8, ignore_eos=True)
    assert list(reply.token_ids) == golden.ids[40:]
    assert reply.usage.cached_tokens == 30


@pytest.mark.parametrize("name", NAMES)
async def test_safetensors(llm, tmp_path, name):
    golden = load_golden(name)
    await compare(llm, huggingface(tmp_path / name, golden.config, golden.weights), name, steps=8)


def huggingface(folder, config, weights):
    folder.mkdir()
    write_json(folder / "config.json", config)
    write_tokenizer(folder, tokenizer_metadata())
    (folder / "model.safetensors").write_bytes(encode_safetensors(weights, "F32"))
    return folder


FUSED = {  # MLC's names of what it fuses, where they are not those of Llama
    "self_attn.qkv_proj": [f"self_attn.{part}_proj" for part in "qkv"],
    "mlp.gate_up_proj": ["mlp.gate_proj", "mlp.up_proj"],
}
PHI3 = {"model.layers.": "transformer.h.", "model.norm": "transformer.norm", "model.embed_tokens": "transformer.embd"}
PHI3 |= {"input_layernorm": "ln", "self_attn": "mixer", "o_proj": "out_proj"}


def mlc_names(name, weights):
    """Weights by MLC's names: q, k, v and gate, up in one."""
    found = dict(weights)
    for joined, parts in FUSED.items():
        for first in [key for key in weights if f".{parts[0]}." in key]:
            values = [found.pop(first.replace(parts[0], part)) for part in parts]
            found[first.replace(parts[0], "self_attn.c_attn" if name == "qwen2" and "q_" in first else joined)] = (
                np.concatenate(values)
            )
    for old, new in PHI3.items() if name == "phi3" else ():
        found = {key.replace(old, new): values for key, values in found.items()}
    return found


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "phi3", "gemma3"])
async def test_mlc(llm, tmp_path, name):
    """q0f16 answers as a safetensors folder with the same numbers does."""
    golden, folder = load_golden(name), tmp_path / "mlc"
    weights = {key: values.astype(np.float16) for key, values in golden.weights.items()}
    folder.mkdir()
    more = {"quantization": "q0f16", "model_type": golden.config["model_type"], "conv_template": {}}
    write_json(folder / "mlc-chat-config.json", {**more, "model_config": golden.config})
    write_tokenizer(folder, tokenizer_metadata())
    stored = [(key, "float16", "f32-to-bf16", v, v.shape) for key, v in mlc_names(name, weights).items()]
    write_shards(folder / "tensor-cache.json", stored, 2)
    await llm.init(str(folder))
    got = await llm.logits(golden.ids)
    single = {key: values.astype(np.float32) for key, values in weights.items()}
    await llm.init(str(huggingface(tmp_path / "hf", golden.config, single)))
    np.testing.assert_allclose(got, await llm.logits(golden.ids), **tolerance.MODEL)


@pytest.mark.parametrize("name", ["lfm2", "gemma3"])
async def test_safetensors_quantized_while_loading(llm, tmp_path, name):
    """What has no whole blocks (a convolution's taps) keeps its numbers."""
    golden = load_golden(name)
    await llm.init(str(huggingface(tmp_path / name, golden.config, golden.weights)), quantize=8)
    got = await llm.logits(golden.ids)
    assert 0.98 < np.corrcoef(got.ravel(), golden.logits.ravel())[0, 1] < 0.99999
