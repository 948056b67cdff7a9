"""Runs operations on arrays: one memory and one compiler for a test, so that shapes share pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight, allocate, repack_calls
from tests.reference import quant


@dataclass(frozen=True)
class Workbench:
    device: Device
    memory: Memory
    compiler: Compiler
    shared: Shared

    def buffer(self, array: np.ndarray) -> Buffer:
        """Outputs are best uploaded full of NaN: what a kernel leaves unwritten then shows."""
        return self.memory.upload(array.tobytes(), "array")

    def nans(self, *shape: int) -> Buffer:
        return self.buffer(np.full(shape, np.nan, np.float32))

    def set_count(self, count: int) -> None:
        """Tokens in this step."""
        self.device.write(self.shared.step.handle, np.array([0, count, 0, 0], np.uint32).tobytes())

    def limited(self, **caps: Any) -> Workbench:
        """The same bench (and pipelines) for an adapter with other `caps`."""
        return replace(self, shared=replace(self.shared, caps=replace(self.shared.caps, **caps)))

    async def run(self, calls: Sequence[Call]) -> None:
        await self.compiler.prepare(calls)
        self.device.submit(self.compiler.record(calls))

    async def read(self, buffer: Buffer, *shape: int) -> np.ndarray:
        """The first f32 of a buffer."""
        nbytes = 4 * int(np.prod(shape))
        return np.frombuffer(await self.device.read(buffer.handle, nbytes), np.float32).reshape(shape)

    async def weight(self, format: str, data: np.ndarray, cols: int) -> Weight:
        """A weight from a file's bytes, uint8 [rows, row bytes]."""
        weight = allocate(self.memory, self.shared.caps, format, data.shape[0], cols, "weight")
        await self.run(repack_calls(weight, self.buffer(data), 0, 0, quant.units(format, data.shape[0], cols)))
        return weight


@contextmanager
def workbench(device: Device, **caps: Any) -> Iterator[Workbench]:
    """A bench on which everything is freed at the end; `caps` replaces fields of the device's Caps."""
    memory = Memory(device)
    try:
        step = memory.upload(np.array([0, 1, 0, 0], np.uint32).tobytes(), "step")
        shared = Shared(replace(device.caps, **caps), step, memory.create(16, "dummy"))
        yield Workbench(device, memory, Compiler(device, memory), shared)
    finally:
        memory.close()
