"""What one decode step of a loaded model takes on the GPU: whole, by kernel, and how many bytes it must read.

For benches. Needs a device that is a gpu.ports.Stopwatch; knows no page. What the cache held is forgotten.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from local_llm.generate.engine import Engine
from local_llm.gpu.kernel import Call
from local_llm.gpu.ports import Dispatch, Stopwatch
from local_llm.models.model import Model
from local_llm.ops.attention import reach_of
from local_llm.ops.sampling import SamplingParams
from local_llm.ops.weight import packed_bytes

LONG_ENOUGH = 0.02  # seconds: browsers round timestamps to 0.1 ms
MOST_STEPS = 64
MOST_TIMES = 1024
COPY_BYTES = 256 << 20
SOFTWARE_COPY_BYTES = 32 << 20


@dataclass(frozen=True)
class KernelTime:
    """dispatches: in a step. seconds: of all of them, one after the other and nothing between."""

    name: str
    dispatches: int
    seconds: float


@dataclass(frozen=True)
class StepTime:
    """One greedy decode step at `position`. seconds: of the whole step in its order. kernels: the longest first.

    weight_bytes: of all matrices that it reads; cache_bytes: of keys and values up to that position.
    """

    position: int
    dispatches: int
    seconds: float
    kernels: tuple[KernelTime, ...]
    weight_bytes: int
    cache_bytes: int


async def profile_step(engine: Engine, watch: Stopwatch, position: int) -> StepTime:
    """Time a step. position: of the token computed; it is lowered where the cache ends before."""
    model, compiler = engine._model, engine._compiler
    position = max(0, min(position, model.context - MOST_STEPS - 1))
    end = position + MOST_STEPS
    reach = reach_of(end)
    calls = engine._model_calls(1, 0 if model.shared.caps.software else reach)
    calls = calls + engine._tail_calls(SamplingParams(), 1)
    await compiler.prepare(calls)
    bound = compiler.bind(calls)
    engine._held = b""

    async def timed(dispatches: list[Dispatch], most: int) -> float:
        """Of one replay, seconds; so many that they are long enough to be measured."""
        recorded, times = model.memory.device.record(dispatches), 1

        async def once() -> float:
            model.memory.device.write(model.shared.step.handle, struct.pack("<4I", position, 1, 0, 0))
            return await watch.timed(recorded, times)

        while True:
            seconds = await once()
            if seconds >= LONG_ENOUGH:
                seconds = min(seconds, await once())  # one pause of the machine is no measurement
            if seconds >= LONG_ENOUGH or times >= most:
                return seconds / times
            times = min(most, times * 4)

    await timed(bound, MOST_STEPS)  # an idle GPU clocks down, and takes its time to come back
    whole = await timed(bound, MOST_STEPS)
    kinds: dict[str, list[Dispatch]] = {}
    for call, dispatch in zip(calls, bound, strict=True):
        kinds.setdefault(_kind(call), []).append(dispatch)
    kernels = [KernelTime(name, len(some), await timed(some, MOST_TIMES)) for name, some in kinds.items()]
    kernels.sort(key=lambda kernel: -kernel.seconds)
    return StepTime(position, len(calls), whole, tuple(kernels), weight_bytes(model), cache_bytes(model, position))


async def copy_rate(engine: Engine, watch: Stopwatch) -> float:
    """Bytes a second that the GPU reads and writes when it copies a large buffer: both are counted."""
    model = engine._model
    caps = model.shared.caps
    size = min(SOFTWARE_COPY_BYTES if caps.software else COPY_BYTES, caps.max_binding_bytes, caps.max_buffer_bytes)
    pair = [model.memory.create(size, "bench") for _ in range(2)]
    try:
        seconds, times = 0.0, 1
        while seconds < 0.1 and times < 512:
            times = min(512, times * 4)
            both = [await watch.copied(pair[0].handle, pair[1].handle, size, times) for _ in range(2)]
            seconds = min(both)  # one pause of the machine is no measurement
        return 2 * size * times / seconds
    finally:
        for buffer in pair:
            model.memory.destroy(buffer)


def weight_bytes(model: Model) -> int:
    """What a step reads of the matrices. Of an embedding that is no output matrix it reads one row: next to nothing."""
    matrices = model.weights.matrices
    read = [name for name in matrices if name != "token_embd" or "output" not in matrices]
    weights = [placed.weight for name in read for placed in matrices[name]]
    return sum(packed_bytes(weight.format, weight.rows, weight.cols) for weight in weights)


def cache_bytes(model: Model, position: int) -> int:
    """Keys and values that a step at `position` reads."""
    total = 0
    for heads, cache in zip(model.heads, model.caches, strict=True):
        held = cache.k.nbytes + cache.v.nbytes
        total += held * min(position + 1, heads.context) // heads.context
    return total


def _kind(call: Call) -> str:
    weight = dict(call.kernel.includes).get("weight", "")
    return f"{call.kernel.name} {weight}".strip()
