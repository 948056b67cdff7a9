"""Whole tiny models, every storage type and option of the family, against the numpy forward pass."""

import numpy as np
import pytest

from local_llm.page.bench import Suite, measure
from tests.model.tiny import write_tiny_gguf
from tests.reference import llama, tolerance
from tests.reference.attention import of_eight_bits

IDS = [(37 * i + 11) % 286 for i in range(40)]
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


async def compare(llm, tiny, ids=IDS, cache_bits=16):
    await llm.init(str(tiny.path), cache_bits=cache_bits)
    got = await llm.logits(ids)
    stored = of_eight_bits if cache_bits == 8 else np.float16
    wanted = llama.forward(dict(tiny.metadata), dict(tiny.tensors), ids, stored=stored)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, **(tolerance.BYTES if cache_bits == 8 else tolerance.MODEL))
    best = np.sort(wanted, -1)
    clear = best[:, -1] - best[:, -2] > 0.1
    assert clear.sum() > len(ids) // 2, "the test's model must have opinions"
    np.testing.assert_array_equal(got.argmax(-1)[clear], wanted.argmax(-1)[clear])


@pytest.mark.parametrize("kind", TYPES)
async def test_every_storage_type(llm, tmp_path, kind):
    await compare(llm, write_tiny_gguf(tmp_path / "tiny.gguf", 1, types=kind))


async def test_a_mixture_of_types_in_one_layer_and_a_head_of_its_own(llm, tmp_path):
    await compare(
        llm, write_tiny_gguf(tmp_path / "tiny.gguf", 2, types=["Q8_0", "Q4_0", "F16", "Q5_1", "Q4_1"], tied=False)
    )


async def test_heads_without_groups_and_version_2(llm, tmp_path):
    await compare(llm, write_tiny_gguf(tmp_path / "tiny.gguf", 3, heads=2, kv_heads=2, head_width=32, version=2))


@pytest.mark.parametrize("head_width", [80, 128])
async def test_wide_heads(llm, tmp_path, head_width):
    await compare(llm, write_tiny_gguf(tmp_path / "tiny.gguf", 4, head_width=head_width))


@pytest.mark.parametrize(
    "scaling",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0},
        {
            "llama.rope.scaling.type": "yarn",
            "llama.rope.scaling.factor": 4.0,
            "llama.rope.scaling.original_context_length": 64,
        },
        {"llama.rope.dimension_count": 8},
    ],
)
async def test_rope_scaling(llm, tmp_path, scaling):
    await compare(llm, write_tiny_gguf(tmp_path / "tiny.gguf", 5, metadata=scaling))


async def test_llama3_scaling_comes_as_a_tensor(llm, tmp_path):
    divisors = [1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0]
    await compare(llm, write_tiny_gguf(tmp_path / "tiny.gguf", 6, rope_divisors=divisors))


@pytest.mark.parametrize("head_width", [16, 80])
async def test_a_cache_of_bytes(llm, tmp_path, head_width):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 13, head_width=head_width)
    await compare(llm, tiny, cache_bits=8)


@pytest.mark.parametrize("cache_bits", [16, 8])
async def test_prefill_of_200_tokens_equals_200_single_steps(llm, tmp_path, cache_bits):
    ids = [(29 * i + 7) % 286 for i in range(200)]
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 7, types="Q4_1", context=256)
    await llm.init(str(tiny.path), cache_bits=cache_bits)
    engine = llm._require().engine
    together, apart = await engine.logits(ids, 200), await engine.logits(ids, 1)
    np.testing.assert_allclose(together, apart, **(tolerance.BYTES if cache_bits == 8 else tolerance.MODEL))


async def test_steps_of_a_gpu_see_what_its_prefill_keeps_as_bytes(gpu_llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 7)
    await gpu_llm.init(str(tiny.path), cache_bits=8)
    engine = gpu_llm._require().engine
    together, apart = await engine.logits(IDS, 40), await engine.logits(IDS, 1)
    wanted = llama.forward(dict(tiny.metadata), dict(tiny.tensors), IDS, stored=of_eight_bits)
    np.testing.assert_allclose(together, wanted, **tolerance.BYTES)
    np.testing.assert_allclose(apart, wanted, **tolerance.BYTES)


async def test_greedy_ids_equal_the_argmax_of_the_reference(llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 8, types="Q8_0")
    await llm.init(str(tiny.path))
    reply = await llm.complete(IDS[:20], max_tokens=24, ignore_eos=True)
    wanted, margins = llama.generate_greedy(dict(tiny.metadata), dict(tiny.tensors), IDS[:20], 24)
    sure = next((i for i, margin in enumerate(margins) if margin < 0.1), len(margins))
    assert sure >= 4
    assert list(reply.token_ids[:sure]) == wanted[:sure]


async def test_the_same_seed_gives_the_same_text_and_another_seed_another(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 9).path))
    options = {"max_tokens": 24, "temperature": 1.5, "top_k": 50, "top_p": 0.95, "ignore_eos": True}
    first = await llm.complete(IDS, seed=5, **options)
    again = await llm.complete(IDS, seed=5, **options)
    other = await llm.complete(IDS, seed=6, **options)
    assert first.token_ids == again.token_ids != other.token_ids


async def test_a_repetition_penalty_keeps_seen_tokens_away(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 10).path))
    reply = await llm.complete(
        IDS[:8], max_tokens=40, repetition_penalty=100.0, presence_penalty=100.0, ignore_eos=True
    )
    assert len(set(reply.token_ids)) == 40
    assert not set(reply.token_ids) & set(IDS[:8])


async def test_a_second_turn_reuses_the_cache_and_says_the_same(llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 11, types="Q4_0")
    await llm.init(str(tiny.path))
    first = await llm.complete(IDS, max_tokens=8, ignore_eos=True)
    turn = [*IDS, *first.token_ids, 5, 6, 7]
    reused = await llm.complete(turn, max_tokens=8, ignore_eos=True)
    await llm.unload()
    await llm.init(str(tiny.path))
    fresh = await llm.complete(turn, max_tokens=8, ignore_eos=True)
    assert reused.usage.cached_tokens == len(IDS) + 7
    assert fresh.usage.cached_tokens == 0
    assert reused.token_ids == fresh.token_ids


async def test_the_kernels_for_gpus_compute_the_same_models(gpu_llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 12, types=["Q4_1", "Q8_0"])
    await compare(gpu_llm, tiny)
    single = await gpu_llm._require().engine.logits(IDS, 1)  # the way of decoding
    wanted = llama.forward(dict(tiny.metadata), dict(tiny.tensors), IDS, stored=np.float16)
    np.testing.assert_allclose(single, wanted, **tolerance.MODEL)


async def test_a_measurement_tells_every_run(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 13).path))
    result = await measure(llm, Suite(prompt_tokens=20, new_tokens=5, runs=2))
    assert [run["completion_tokens"] for run in result["runs"]] == [5, 5]
    speeds = [run["decode_tokens_per_second"] for run in result["runs"]]
    assert min(speeds) <= result["decode_tokens_per_second"] <= max(speeds)
    assert result["prefill_tokens_per_second"] > 0
