"""What is new of a prompt, if it is little, takes steps of a few tokens: the same text, where the adapter is right."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from local_llm import LocalLLM, soundness
from local_llm.errors import LocalLLMError
from local_llm.generate.short_steps import ShortSteps
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.agreement import few_agree
from local_llm.native.device import NativeDevice
from local_llm.ops.attention import Cache, Heads, attention_few, few_tokens
from local_llm.ops.shared import Shared
from tests.conftest import wait
from tests.model.test_proof import Miscompiling
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench, Shelf

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
    engine._held = b""
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
    assert len(NEW) * 3 > short.longest == 32
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


def test_how_many_tokens_fit_into_a_workgroup():
    heads = Heads(4, 2, 256, 256, 1024, False, 1.0)
    caps = replace(CAPS, workgroup_bytes=16384)
    assert few_tokens(caps, heads) == 4
    assert few_tokens(replace(caps, workgroup_bytes=19716), heads) == 8  # 19,620 and what aligns them
    assert few_tokens(replace(caps, workgroup_bytes=15000), heads) == 0
    assert few_tokens(caps, replace(heads, width=128)) == few_tokens(caps, replace(heads, bits=8)) == 8
    assert few_tokens(caps, replace(heads, width=36)) == 0


async def test_what_is_said_to_fit_compiles_where_there_is_no_more(host):
    device = limited_device(await host.open_device(), 16384)
    memory = Memory(device)
    compiler = Compiler(device, memory)
    some = memory.create(1 << 16, "some")

    def calls(heads, tokens):
        return attention_few(Shared(device.caps, some, some), tokens, heads, some, some, Cache(some, some), some)

    try:
        for bits in (16, 8):
            heads = Heads(2, 1, 256, 256, 64, False, 1.0, bits=bits)
            await compiler.prepare(calls(heads, few_tokens(device.caps, heads)))
            await device.idle()
        with pytest.raises(LocalLLMError, match="workgroup"):
            await compiler.prepare(calls(replace(heads, bits=16), 8))
    finally:
        memory.close()
        device.close()


def limited_device(device, workgroup_bytes):
    """Another one of an adapter whose Dawn is at work already, with less workgroup memory than it offers."""
    wgpu = importlib.import_module("wgpudawn")
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    limits = {"max-compute-workgroup-storage-size": workgroup_bytes}
    made = NativeDevice(adapter.request_device_sync(required_limits=limits), adapter.info)
    assert made.caps.workgroup_bytes == workgroup_bytes < device.caps.workgroup_bytes
    return made


async def test_wide_heads_take_four_tokens_where_workgroups_have_16_kib(tmp_path, monkeypatch):
    async def none_wrong(model, counts, names):
        return []

    monkeypatch.setattr(soundness, "wrong_kernels", none_wrong)
    write_tiny_gguf(tmp_path / "tiny.gguf", 5, layers=1, heads=2, kv_heads=1, head_width=256)
    bench = Bench(tmp_path)
    bench.device = RecordingDevice(replace(CAPS, software=False, workgroup_bytes=16384))
    service = bench.service()
    await service.init("tiny", context_size=128, tune="off")
    await short_of(service).prepare()
    _, cached, steps = await turn(service, NEW)
    assert steps == [cached + 4, cached + 8, cached + len(NEW)]
    assert (await turn(service, [*NEW, *NEW[:6]]))[2] == [], "17 take the longer way"
    await service.unload()


@pytest.mark.parametrize("context", [16, 24, 33, 48])
async def test_there_is_room_for_what_attention_leaves_in_the_shortest_contexts(gpu_llm, tmp_path, context):
    """With as many heads of k as of q a token leaves most."""
    await gpu_llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 3, kv_heads=4, context=context).path))
    engine = gpu_llm._require().engine
    assert await few_agree(engine._model, engine.short.tokens, alike=False)
