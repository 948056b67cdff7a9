"""GPU time, by timestamps, of a model's decode step over Dawn: whole, without each kernel, and each kernel in a chain.

    python bench/gpu_time.py MODEL.gguf --positions 100 500 4000

"without" replaces the kernel's grid by one workgroup: what is left of it is the cost of a dispatch. Host time does not
enter, unlike in profile_model.py. Needs local_llm and wgpudawn on an adapter with timestamp-query.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from local_llm.formats.gguf import read_gguf
from local_llm.generate.engine import Engine
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.families import family_of
from local_llm.models.model import Model, load
from local_llm.native.blobs import open_blobs
from local_llm.native.device import NativeDevice, open_device
from local_llm.ops.sampling import SamplingParams


class Stopwatch:
    """Times recorded plans on the GPU."""

    def __init__(self, device: NativeDevice) -> None:
        self._wgpu = device._device
        self._set = self._wgpu.create_query_set(type="timestamp", count=2)
        self._ticks = self._wgpu.create_buffer(size=256, usage=0x0200 | 0x0004)

    def once(self, recorded: Sequence[tuple], times: int) -> float:
        """Seconds of one replay out of `times` in one pass."""
        encoder = self._wgpu.create_command_encoder()
        stamps = {"query_set": self._set, "beginning_of_pass_write_index": 0, "end_of_pass_write_index": 1}
        work = encoder.begin_compute_pass(timestamp_writes=stamps)
        for _ in range(times):
            for pipeline, group, grid in recorded:
                work.set_pipeline(pipeline)
                work.set_bind_group(0, group)
                work.dispatch_workgroups(*grid)
        work.end()
        encoder.resolve_query_set(self._set, 0, 2, self._ticks, 0)
        self._wgpu.queue.submit([encoder.finish()])
        start, stop = np.frombuffer(bytes(self._wgpu.queue.read_buffer(self._ticks, 0, 16)), np.uint64)
        return float(stop - start) / 1e9 / times

    def best(self, recorded: Sequence[tuple], times: int) -> float:
        spent = 0.0
        while spent < 0.03:  # an idle GPU clocks down, and takes its time to come back
            spent += self.once(recorded, times) * times
        return min(self.once(recorded, times) for _ in range(5))


def decode_calls(model: Model, position: int) -> list[Call]:
    engine = Engine(model, lambda: 0.0)
    return engine._model_calls(1, position) + engine._tail_calls(SamplingParams(), 1)


async def report(device: NativeDevice, model: Model, position: int) -> None:
    watch, compiler = Stopwatch(device), Compiler(device, model.memory)
    calls = decode_calls(model, position)
    await compiler.prepare(calls)

    def timed(change: Callable[[Call], Call], times: int = 8) -> float:
        recorded = compiler.record([change(call) for call in calls])
        device.write(model.shared.step.handle, struct.pack("<4I", position, 1, 0, 0))
        return watch.best(recorded, times) * 1e6

    whole = timed(lambda call: call)
    floor = timed(lambda call: replace(call, grid=(1, 1, 1)))
    print(f"position {position}: {len(calls)} dispatches, whole {whole:.0f} µs, one workgroup each {floor:.0f} µs")
    kinds = Counter((call.kernel, call.grid, call.params[:4]) for call in calls)
    for kind, count in kinds.items():
        one = next(call for call in calls if (call.kernel, call.grid, call.params[:4]) == kind)
        rest = timed(lambda c, k=kind: replace(c, grid=(1, 1, 1)) if (c.kernel, c.grid, c.params[:4]) == k else c)
        chain = watch.best(compiler.record([one] * 100), 1) * 1e6 / 100
        name = f"{kind[0].name} {dict(kind[0].includes).get('weight', '')} {kind[1]}"
        added = (whole - rest) / count
        print(f"  {name:40} x {count:3}: adds {added:6.2f} µs each over one workgroup, chain {chain:6.2f}")


async def run(args: argparse.Namespace) -> None:
    device = await open_device()
    memory = Memory(device)
    gguf = await read_gguf(blobs := await open_blobs(args.model))
    family = family_of(gguf.name, gguf.metadata.get("general.architecture"))
    model = await load(family, gguf, blobs, memory, 8192, lambda done, total: None, args.cache_bits)
    print(device.caps.adapter, gguf.name)
    for position in args.positions:
        await report(device, model, position)


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("model")
    p.add_argument("--positions", type=int, nargs="+", default=[100, 500, 4000])
    p.add_argument("--cache-bits", type=int, choices=(16, 8), default=16)
    asyncio.run(run(p.parse_args()))


if __name__ == "__main__":
    main()
