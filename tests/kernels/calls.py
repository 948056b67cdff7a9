"""Runs the calls that an operation makes, on buffers that the test keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device, Handle
from local_llm.ops.shared import Shared


class Kept:
    """A device that keeps its pipelines: compiling takes a software adapter longer than running a test."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pipelines: dict[tuple, Handle] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    async def create_pipeline(
        self, code: str, entry: str, bindings: Sequence[str], constants: Mapping[str, float]
    ) -> Handle:
        key = (code, *sorted(constants.items()))
        if key not in self._pipelines:
            self._pipelines[key] = await self._device.create_pipeline(code, entry, bindings, constants)
        return self._pipelines[key]


@cache
def kept(device: Device) -> Device:
    return cast(Device, Kept(device))


class Bench:
    """A device, its memory, and the buffers all kernels share."""

    def __init__(self, device: Device, memory: Memory, software: bool | None = None) -> None:
        self.device = kept(device)
        self.memory = memory
        caps = device.caps if software is None else replace(device.caps, software=software)
        self.shared = Shared(caps, memory.create(16, "step"), memory.create(16, "dummy"))
        self._compiler = Compiler(self.device, memory)

    def set_step(self, position: int, count: int = 1, index: int = 0, seed: int = 0) -> None:
        self.write(self.shared.step, np.array([position, count, index, seed], np.uint32))

    def upload(self, array: np.ndarray) -> Buffer:
        return self.memory.upload(array.tobytes(), "array")

    def write(self, buffer: Buffer, array: np.ndarray) -> None:
        self.device.write(buffer.handle, array.tobytes())

    async def run(self, calls: Sequence[Call], times: int = 1) -> None:
        await self._compiler.prepare(calls)
        self.device.submit(self._compiler.record(calls), times)

    async def read(self, buffer: Buffer, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = await self.device.read(buffer.handle, nbytes + -nbytes % 4)
        return np.frombuffer(data[:nbytes], dtype).reshape(shape)


@contextmanager
def bench(device: Device, software: bool | None = None) -> Iterator[Bench]:
    """software: choose kernels as for a CPU adapter, or as for a GPU (None: as the device is)."""
    memory = Memory(device)
    try:
        yield Bench(device, memory, software)
    finally:
        memory.close()
