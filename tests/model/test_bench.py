"""What the bench finds out about a tiny model: all of it is there and fits together. Speeds are not asserted."""

from __future__ import annotations

import asyncio
import time

from local_llm.page import bench
from local_llm.page.bench import Suite, measure
from tests.model.tiny import write_tiny_gguf


async def test_a_step_is_timed_by_kernel(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 13, types="Q8_0", tied=False).path))
    ratios = []
    while not ratios or (ratios[-1] >= 3 and len(ratios) < 3):  # a machine that does something else lengthens a step
        result = await measure(llm, Suite(prompt_tokens=20, new_tokens=8, runs=1, profile=True))
        ratios.append(whole_by_parts(llm, result["step"]))
    assert min(ratios) < 3


def whole_by_parts(llm, step):
    """How many times as long as all of its kernels a step takes; all else that is told of it is checked."""
    assert step["position"] == 24
    assert step["dispatches"] == sum(kernel["dispatches"] for kernel in step["kernels"])
    names = [kernel["name"] for kernel in step["kernels"]]
    assert {"matvec_serial q8_0", "pick", "argmax"} <= set(names)
    times = [kernel["seconds"] for kernel in step["kernels"]]
    assert times == sorted(times, reverse=True)
    assert min(times) > 0
    assert step["seconds"] > 0
    model = llm._loaded.model
    shapes = [
        placed.weight for name, parts in model.weights.matrices.items() if name != "token_embd" for placed in parts
    ]
    assert step["weight_bytes"] == sum(weight.rows * weight.blocks * 34 for weight in shapes)
    heads = model.heads[0]
    assert step["cache_bytes"] == 25 * 2 * 2 * heads.kv_heads * heads.width * len(model.heads)
    assert step["copy_bytes_per_second"] > 1e8
    assert 0 < step["bandwidth_share"] < 1
    return step["seconds"] / sum(times)


async def test_after_a_profile_answers_are_as_before(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 13).path))
    options = {"temperature": 0.0, "ignore_eos": True}
    prompt = bench._prompt(20, 1)  # of the last run: what it leaves in the cache is a prefix of `long`
    long = [*prompt, *(await llm.complete(prompt, max_tokens=12, **options)).token_ids]
    before = await llm.complete(long, max_tokens=12, **options)
    await measure(llm, Suite(prompt_tokens=20, new_tokens=12, runs=1, profile=True))
    after = await llm.complete(long, max_tokens=12, **options)
    assert after.token_ids == before.token_ids
    assert after.usage.cached_tokens == 0


async def test_a_device_without_timestamps_is_told(llm, tmp_path, monkeypatch):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 13).path))
    monkeypatch.setattr(bench, "Stopwatch", int)
    result = await measure(llm, Suite(prompt_tokens=4, new_tokens=2, runs=1, profile=True))
    assert "timestamp-query" in result["step"]["missing"]


async def test_a_cached_prefix_is_found(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 13).path))
    prompts = []
    complete = llm.complete

    async def watched(ids, **options):
        reply = await complete(ids, **options)
        if not options.get("stream"):
            prompts.append((len(ids), reply.usage.cached_tokens))
        return reply

    llm.complete = watched
    found = (await measure(llm, Suite(prompt_tokens=4, new_tokens=2, runs=2, prefix=60)))["after_prefix"]
    assert prompts == [(16, 0), *[(16, 0), (60, 0), (76, 60)] * 3]  # the first lets what is short be prepared
    assert len(found["time_to_first_token_s"]) == len(found["alone_s"]) == 2
    assert min(found["time_to_first_token_s"]) > 0


async def test_pythons_seconds_are_those_of_callbacks():
    begun = time.perf_counter()
    with bench._python_seconds() as spent:
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_soon(time.sleep, 0.02)
        await asyncio.sleep(0.01)
    assert 0.02 <= spent[0] < time.perf_counter() - begun - 0.25  # the loop waited for 0.5
    await asyncio.sleep(0)
    before = spent[0]
    asyncio.get_running_loop().call_soon(time.sleep, 0.02)
    await asyncio.sleep(0.01)
    assert spent[0] == before
