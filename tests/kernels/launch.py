"""Runs one kernel on arrays: upload, call, read back. Any validation error fails the read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device, Grid


async def launch(
    device: Device, kernel: Kernel, arrays: Sequence[np.ndarray], grid: Grid, params: bytes = b""
) -> list[np.ndarray]:
    """All buffers as they are after the call, in binding order, with the dtypes and shapes of `arrays`.

    Fill outputs with NaN or a sentinel beforehand to see what the kernel leaves unwritten.
    """
    memory = Memory(device)
    try:
        buffers = tuple(memory.upload(array.tobytes(), f"array {i}") for i, array in enumerate(arrays))
        call = Call(kernel, buffers, grid, params)
        compiler = Compiler(device, memory)
        await compiler.prepare([call])
        device.submit(compiler.record([call]))
        results = []
        for array, buffer in zip(arrays, buffers, strict=True):
            data = await device.read(buffer.handle, array.nbytes + -array.nbytes % 4)
            results.append(np.frombuffer(data[: array.nbytes], array.dtype).reshape(array.shape))
        return results
    finally:
        memory.close()
