"""Turns calls into plans: compiles kernels all at once, binds buffers once, records for replay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from local_llm.errors import GPUFault
from local_llm.gpu import wgsl
from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Device, Dispatch, Handle


class Compiler:
    """Pipelines, bind groups and uniforms of one model on one device."""

    def __init__(self, device: Device, memory: Memory) -> None:
        self._device = device
        self._memory = memory
        self._pipelines: dict[Kernel, Handle] = {}
        self._groups: dict[tuple[Kernel, tuple[Buffer, ...], bytes], Handle] = {}
        self._params: dict[bytes, Buffer] = {}

    async def prepare(self, calls: Iterable[Call]) -> None:
        """Compile every kernel among calls that is not yet compiled, concurrently. Raises GPUFault."""
        for fault in (await self.refused(calls)).values():
            raise fault

    async def refused(self, calls: Iterable[Call]) -> dict[Kernel, GPUFault]:
        """The same; those that the driver does not compile, and what it says of them."""
        missing = list({call.kernel: None for call in calls if call.kernel not in self._pipelines})
        made = await asyncio.gather(*(self._compile(kernel) for kernel in missing), return_exceptions=True)
        faults: dict[Kernel, GPUFault] = {}
        for kernel, pipeline in zip(missing, made, strict=True):
            if isinstance(pipeline, GPUFault):
                faults[kernel] = pipeline
            elif isinstance(pipeline, BaseException):
                raise pipeline
            else:
                self._pipelines[kernel] = pipeline
        return faults

    async def _compile(self, kernel: Kernel) -> Handle:
        code = wgsl.source(kernel.name, dict(kernel.includes))
        access = [binding.access for binding in wgsl.bindings(code)]
        return await self._device.create_pipeline(code, kernel.name, access, dict(kernel.constants))

    def record(self, calls: Sequence[Call]) -> Handle:
        """A plan ready for Device.submit. Every kernel must have been prepared."""
        return self._device.record(self.bind(calls))

    def bind(self, calls: Sequence[Call]) -> list[Dispatch]:
        """What Device.record takes, for those who record the same calls in several ways."""
        return [self._dispatch(call) for call in calls]

    def _dispatch(self, call: Call) -> Dispatch:
        key = (call.kernel, call.buffers, call.params)
        pipeline = self._pipelines[call.kernel]
        group = self._groups.get(key)
        if group is None:
            buffers = call.buffers if not call.params else (*call.buffers, self._uniform(call.params))
            group = self._groups[key] = self._device.bind(pipeline, [buffer.handle for buffer in buffers])
        return Dispatch(pipeline, group, call.grid)

    def _uniform(self, params: bytes) -> Buffer:
        if params not in self._params:
            self._params[params] = self._memory.upload(params, "params")
        return self._params[params]
