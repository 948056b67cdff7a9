"""The context fits the GPU; what does not fit leaves nothing behind and says what would."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from local_llm.errors import OutOfMemory
from local_llm.formats.opening import open_checkpoint
from local_llm.models import weights
from local_llm.models.fitting import LEAST_CONTEXT, needed_bytes
from local_llm.models.model import _allocate
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench

HELLO = [{"role": "user", "content": "Hello"}]


class Small(RecordingDevice):
    """Holds so many bytes; that it was asked for more it says at the next wait, as WebGPU does."""

    def __init__(self, room: int, **caps: int) -> None:
        super().__init__(replace(CAPS, **caps))
        self.room = room
        self.refused = False

    def create_buffer(self, nbytes, label):
        buffer = super().create_buffer(nbytes, label)
        self.refused |= sum(map(len, self.live)) > self.room
        return buffer

    async def _later(self, value):
        refused, self.refused = self.refused, False
        if refused:
            raise OutOfMemory("The GPU refused.")
        return value


@pytest.fixture
def start(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1, context=4096, heads=4, kv_heads=4, head_width=32)

    async def started(
        room: int = 1 << 40,
        *,
        limit: int | None = None,
        context: int | None = None,
        cache_bits: int | None = None,
        **caps: int,
    ):
        bench = Bench(tmp_path)
        bench.device = Small(room, **caps)
        service = bench.service()
        service.performance.set_budget(limit)
        await service.init("tiny", context_size=context, cache_bits=cache_bits)
        return bench, service

    return started


async def held(start, context: int) -> int:
    _, service = await start(context=context)
    return service.status()["gpu_bytes"]


async def failure(start, *words, **named) -> tuple[Bench, OutOfMemory]:
    benches = []
    made = Bench.service

    def service(self):
        benches.append(self)
        return made(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "service", service)
        with pytest.raises(OutOfMemory) as caught:
            await start(*words, **named)
    return benches[0], caught.value


async def test_with_room_the_default_context_is_kept(start):
    _, service = await start()
    assert (await service.runtime_info())["context_size"] == 4096


async def test_where_the_gpu_refuses_the_context_is_halved_until_it_fits(start):
    bench, service = await start(await held(start, 1100) + (1 << 20))
    assert 512 <= (await service.runtime_info())["context_size"] < 4096
    assert bench.names()[-1] == "ready"
    assert "error" not in bench.names()
    assert (await service.chat(HELLO, max_tokens=3)).usage.completion_tokens == 3


async def test_the_default_context_keeps_to_a_known_limit(start):
    limit = await held(start, 2048)
    _, service = await start(limit=limit)
    context = (await service.runtime_info())["context_size"]
    assert 1700 <= context <= 2048
    assert service.status()["gpu_bytes"] <= limit


async def test_a_limit_that_nothing_fits_still_loads_with_the_least(start):
    _, service = await start(limit=1000)
    assert (await service.runtime_info())["context_size"] == LEAST_CONTEXT


@pytest.mark.parametrize("context", [None, 4096])
async def test_a_refusal_unwinds_and_names_a_context_that_loads(start, context):
    room = await held(start, 2048) if context else await held(start, 64)
    bench, error = await failure(start, room, context=context)
    assert bench.device.live == []
    if context:
        smaller = int(re.findall(r"context_size=(\d+)", error.remedy)[0])
        assert smaller < 4096
        assert "4096 positions" in error.message
    else:
        assert "smaller model" in error.remedy
    assert bench.last("error")["remedy"] == error.remedy


async def test_what_a_refusal_advises_is_less(start):
    _, error = await failure(start, await held(start, 2048), context=4096)
    smaller = int(re.findall(r"context_size=(\d+)", error.remedy)[0])
    assert await held(start, smaller) < 0.95 * await held(start, 4096)


async def test_a_buffer_beyond_the_adapter_is_refused_before_anything_is_allocated(start):
    bench, error = await failure(start, context=4096, max_binding_bytes=600_000)
    assert bench.device.live == []
    assert not bench.service().status()["gpu_bytes"]
    fits = int(re.findall(r"context_size=(\d+)", error.remedy)[0])
    assert 512 <= fits < 4096
    _, service = await start(context=fits, max_binding_bytes=600_000)
    assert service.status()["is_ready"]


async def test_without_being_asked_the_context_keeps_to_the_largest_buffer(start):
    _, service = await start(max_binding_bytes=600_000)
    assert 512 <= (await service.runtime_info())["context_size"] < 4096


async def test_an_adapter_too_small_for_the_weights_needs_a_smaller_model(start):
    bench, error = await failure(start, max_binding_bytes=1 << 10)
    assert "smaller model" in error.remedy
    assert bench.device.live == []


@pytest.mark.parametrize("cache_bits", [16, 8])
async def test_the_count_is_the_ledgers(start, cache_bits):
    _, service = await start(context=700, cache_bits=cache_bits)
    model = service._loaded.model
    by_use = service._loaded.memory.by_label()
    ours = sum(size for label, size in by_use.items() if label in ("weights", "kv cache", "rope", "scratch", "tokens"))
    checkpoint = (await open_checkpoint("tiny.gguf", service._host.open_blobs, None)).checkpoint

    def allocate(memory, context):
        wanted = model.family.stacks(checkpoint, model.config)
        weights.check(checkpoint, wanted)
        return _allocate(model.family, checkpoint, model.config, wanted, memory, context, cache_bits)

    assert needed_bytes(allocate, model.shared.caps, 700) == ours + 32


async def test_a_cache_of_bytes_takes_little_more_than_half(start):
    sizes = []
    for bits in (None, 8):
        _, service = await start(context=4096, cache_bits=bits)
        info = await service.runtime_info()
        assert info["cache_bits"] == (bits or 16)
        sizes.append(info["gpu_bytes_by_use"]["kv cache"])
    assert sizes[0] == 2 * 2 * 4096 * 4 * 32 * 2  # layers, keys and values, positions, heads, numbers, bytes
    assert sizes[1] == sizes[0] / 2 + 2 * 4096 * 4 * 8  # a pair of peaks for a head's keys, one for its values


async def test_a_cache_of_bytes_fits_more_positions(start):
    limit = await held(start, 1024)
    contexts = []
    for bits in (16, 8):
        _, service = await start(limit=limit, cache_bits=bits)
        contexts.append((await service.runtime_info())["context_size"])
    assert contexts[0] == 1024
    assert contexts[1] > 1200
