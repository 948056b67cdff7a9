"""What is new of a prompt, if it is little, takes steps of a few tokens: the same text, where the adapter is right."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm import LocalLLM
from local_llm.generate.short_steps import LONGEST, ShortSteps
from tests.conftest import wait
from tests.model.test_proof import Miscompiling
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Shelf

FIRST, NEW = [5, 9, 17, 33, 4, 21, 8, 60] * 5, [7, 11, 200, 31, 6, 90, 3, 12, 45, 44, 101]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_tiny_gguf(tmp_path_factory.mktemp("short") / "tiny.gguf", 5, types="Q4_1", context=256).path)


def short_of(service) -> ShortSteps:
    short = service._require().engine.short
    assert short is not None
    return short


async def turn(service, new):
    """A second prompt behind a first one, and how many short steps it took."""
    engine = service._require().engine
    engine._held = []
    await service.complete(FIRST, max_tokens=1, ignore_eos=True)
    short = short_of(service)
    steps, step = [], short.step
    short.step = lambda end: (steps.append(end), step(end))[1]
    try:
        reply = await service.complete([*FIRST, *new], max_tokens=8, ignore_eos=True)
    finally:
        short.step = step
    return reply.token_ids, reply.usage.cached_tokens, steps


async def test_a_short_turn_takes_steps_of_eight_and_says_the_same(gpu_llm, path):
    await gpu_llm.init(path)
    short = short_of(gpu_llm)
    wanted, cached, steps = await turn(gpu_llm, NEW)
    assert (cached, steps) == (len(FIRST), [])
    await short.prepare()
    got, cached, steps = await turn(gpu_llm, NEW)
    assert (cached, steps) == (len(FIRST), [len(FIRST) + 8, len(FIRST) + len(NEW)])
    assert got == wanted
    _, _, steps = await turn(gpu_llm, NEW[:9])
    assert steps == [len(FIRST) + 8]  # the last token alone is a step as any
    _, _, steps = await turn(gpu_llm, [*NEW, *NEW, *NEW])
    assert len(NEW) * 3 > LONGEST
    assert steps == []


async def test_they_are_prepared_after_the_first_answer(gpu_llm, path):
    await gpu_llm.init(path)
    engine = gpu_llm._loaded.engine
    engine._foresees = True  # as where there is a self-test
    assert not short_of(gpu_llm).ready
    await gpu_llm.complete(FIRST, max_tokens=1)
    await short_of(gpu_llm).preparation.wait()
    assert short_of(gpu_llm).ready
    assert (await turn(gpu_llm, NEW))[2]
    await gpu_llm.init(path)
    short_of(gpu_llm).foresee()
    await gpu_llm.unload()  # while it is being prepared
    await gpu_llm.init(path)
    assert (await gpu_llm.complete(FIRST, max_tokens=2, ignore_eos=True)).token_ids


async def test_keys_and_values_are_those_of_single_steps(gpu_llm, path):
    await gpu_llm.init(path)
    engine, prompt = gpu_llm._loaded.engine, [*FIRST, *NEW]
    await short_of(gpu_llm).prepare()

    async def caches():
        held = [part for cache in engine._model.caches for part in (cache.k, cache.v)]
        return [np.frombuffer(await engine._device.read(part.handle, part.nbytes), np.uint8) for part in held]

    for count in range(len(FIRST), len(prompt) + 1):  # one token a turn
        await gpu_llm.complete(prompt[:count], max_tokens=1)
    wanted = await caches()
    await gpu_llm.complete([*FIRST, *NEW[::-1]], max_tokens=1)
    assert any((one != other).any() for one, other in zip(await caches(), wanted, strict=True))
    await gpu_llm.complete(prompt, max_tokens=1)
    for one, other in zip(await caches(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_they_are_wrong_they_do_not_run(host, counted, path):
    async def open_device():
        return Miscompiling(counted, "attention_few", "step.position + token)", "step.position)")

    service = LocalLLM(replace(host, open_device=open_device, store=Shelf(), self_test=False))
    wait(service.init(path))
    short = short_of(service)
    wait(short.prepare())
    assert short.agrees is False
    assert wait(service.runtime_info())["few_tokens_agree"] is False
    assert not short.ready
    assert wait(turn(service, NEW))[2] == []
    wait(service.unload())
