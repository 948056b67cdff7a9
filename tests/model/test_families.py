"""Tiny models of every family against what Hugging Face transformers computes in f32 from the same weights.

Prompt and continuation go the way of prompts, then every token goes the way of decoding.
"""

import numpy as np
import pytest

from tests.model.golden import NAMES, load_golden
from tests.reference import tolerance
from tests.reference.convert import write_converted

FEATURES = ["qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "mistral-window", "phi4-mini"]  # of kernels, all of them
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


@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
async def test_greedy_continuation(llm, tmp_path, name):
    golden = load_golden(name)
    await llm.init(str(gguf(tmp_path, name)))
    reply = await llm.complete(golden.ids[:40], max_tokens=8, ignore_eos=True)
    assert list(reply.token_ids) == golden.ids[40:]
