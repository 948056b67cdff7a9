"""Which variants of a step's products are the fastest on this adapter: the model's own calls, timed.

They write into a buffer apart, so that nothing of the model changes. Knows no host and keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

from local_llm.errors import GPUFault
from local_llm.gpu import wgsl
from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device, Handle, Stopwatch
from local_llm.models.model import Model
from local_llm.ops.attention import REACHES
from local_llm.ops.variants import Shape, Variant, candidates
from local_llm.ops.weight import packed_bytes

KERNELS = ("matvec_glu", "matvec")
MARGIN = 0.03  # by which another variant must win
STAGES = ((99, 1, 0.002), (4, 2, 0.003), (2, 5, 0.006))  # variants left, rounds, seconds a measurement
BY_HOST = 3  # times as long without timestamps: the way to the GPU and back is in it
WARM_UP, WARM_AGAIN = 0.03, 0.005  # seconds; an idle GPU clocks down, and takes its time to come back
MOST_CALLS = 12  # of a shape that are timed one after the other, so that no weight comes from a cache
LONGEST = 0.004  # seconds that they take, where there is a choice
MOST_DISPATCHES = 4096  # of a measurement
INSTANT = 1e-9  # seconds, of a clock that stands still

Calls = dict[Shape, list[Call]]


@dataclass(frozen=True)
class Outcome:
    """variant: what shall run. before, after: seconds of a step's products by the rule's variant and by this one.

    table: each candidate and its seconds, as far as it came; the rule's first.
    """

    variant: Variant
    before: float = 0.0
    after: float = 0.0
    table: tuple[tuple[Variant, float], ...] = ()


def chosen(model: Model, variants: Mapping[Shape, Variant]) -> Model:
    """The model with such variants, and the rules' for all other shapes."""
    return replace(model, shared=replace(model.shared, choices=dict(variants)))


def products(model: Model) -> Calls:
    """The products of a step of one token, early in a text, by shape; those that read most come first."""
    reach = REACHES[1] if model.context > REACHES[1] else 0
    calls = model.family.layers(replace(model, reach=reach), 1)
    calls += model.family.head(model, model.scratch.x, 1, model.scratch.x)  # is not run: any buffer will do
    found = by_shape(model, calls)
    read = {shape: len(found[shape]) * packed_bytes(shape.format, shape.rows, shape.cols) for shape in found}
    return {shape: found[shape] for shape in sorted(found, key=lambda shape: -read[shape])}


def by_shape(model: Model, calls: Sequence[Call]) -> Calls:
    """Those among calls that are products with a matrix of the model."""
    stacks = model.weights.matrices.values()
    weights = {part.quants: one.weight for stack in stacks for one in stack for part in one.weight.parts}
    found: Calls = {}
    for call in calls:
        kernel = next((name for name in KERNELS if call.kernel.name.startswith(name)), "")
        weight = weights.get(call.buffers[0])
        if kernel and weight:
            int8 = ("team_rows", "byte_rows") in call.kernel.includes
            found.setdefault(Shape(kernel, weight.format, weight.rows, weight.cols, int8), []).append(call)
    return found


async def tune(
    model: Model,
    shapes: Collection[Shape],
    clock: Callable[[], float],
    seconds: float,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> dict[Shape, Outcome]:
    """What shall run for each of `shapes`: the rule's variant where `seconds` did not suffice.

    tell(done, count): shapes. Raises what a GPU may; the caller sees to it that the model does nothing else meanwhile.
    """
    caps, end = model.shared.caps, clock() + seconds
    memory = Memory(model.memory.device)
    try:
        width = max(sum(one.weight.rows for one in stack) for stack in model.weights.matrices.values())
        watch = _Watch(memory, clock, memory.create(4 * width, "tuning"))
        order = [shape for shape in products(model) if shape in shapes]
        variants = {shape: candidates(caps, shape) for shape in order}
        lines = _lines(model, variants)
        found: dict[Shape, Outcome] = {}
        for done, shape in enumerate(order):
            tell(done, len(order))
            found[shape] = Outcome(variants[shape][0])
            if clock() < end and len(variants[shape]) > 1:
                with suppress(GPUFault):  # one that does not compile here, or does not run
                    found[shape] = await _race(watch, variants[shape], lines[shape], WARM_AGAIN if done else WARM_UP)
        return found
    finally:
        memory.close()


def _lines(model: Model, variants: Mapping[Shape, Sequence[Variant]]) -> dict[Shape, list[list[Call]]]:
    """The calls of each shape by each of its variants."""
    lines: dict[Shape, list[list[Call]]] = {shape: [] for shape in variants}
    for index in range(max((len(some) for some in variants.values()), default=0)):
        left = {shape: some[index] for shape, some in variants.items() if index < len(some)}
        found = products(chosen(model, left))
        for shape in left:
            lines[shape].append(found[shape])
    return lines


class _Watch:
    """Times calls on the GPU, whatever they write going into `target`."""

    def __init__(self, memory: Memory, clock: Callable[[], float], target: Buffer) -> None:
        self._device: Device = memory.device
        self._clock, self._target = clock, target
        self._compiler = Compiler(memory.device, memory)
        exact = "timestamp-query" in memory.device.caps.features
        self._stopwatch = memory.device if exact and isinstance(memory.device, Stopwatch) else None
        self.stretch = 1 if self._stopwatch else BY_HOST

    async def prepare(self, lines: Sequence[Sequence[Call]]) -> None:
        await self._compiler.prepare([call for line in lines for call in line])

    def record(self, line: Sequence[Call]) -> Handle:
        return self._compiler.record([self._apart(call) for call in line])

    def _apart(self, call: Call) -> Call:
        pairs = zip(call.buffers, _accesses(call.kernel), strict=False)
        return replace(call, buffers=tuple(self._target if access == "read_write" else it for it, access in pairs))

    async def seconds(self, recorded: Handle, times: int) -> float:
        """Of so many replays; never nothing, whatever a driver's clock says."""
        if self._stopwatch is not None:
            return max(await self._stopwatch.timed(recorded, times), INSTANT)
        began = self._clock()
        self._device.submit(recorded, times)
        await self._device.read(self._target.handle, 4)
        return max(self._clock() - began, INSTANT)

    async def warm(self, recorded: Handle, seconds: float, most: int) -> float:
        """Keep the GPU at work; returns what one replay takes by then."""
        times, end = 1, self._clock() + seconds
        while True:
            took = await self.seconds(recorded, times)
            if self._clock() >= end:
                return took / times
            if took < STAGES[0][2]:
                times = min(2 * times, most)


@cache
def _accesses(kernel: Kernel) -> tuple[str, ...]:
    code = wgsl.source(kernel.name, dict(kernel.includes))
    return tuple(binding.access for binding in wgsl.bindings(code))


async def _race(watch: _Watch, variants: Sequence[Variant], lines: list[list[Call]], warm_up: float) -> Outcome:
    """All variants once, the best few twice, the best against the rule's some times more, in turns."""
    count = len(lines[0])
    lines = [line[:: -(-count // MOST_CALLS)] for line in lines]
    await watch.prepare(lines)
    most = max(1, MOST_DISPATCHES // len(lines[0]))
    each = await watch.warm(watch.record(lines[0]), warm_up, most)
    if each <= INSTANT:
        return Outcome(variants[0])
    if each > LONGEST:
        fewer = max(1, int(len(lines[0]) * LONGEST / each))
        each *= fewer / len(lines[0])
        lines = [line[:fewer] for line in lines]
    recorded = [watch.record(line) for line in lines]
    known: dict[int, float] = {}
    order = list(range(len(variants)))
    for left, rounds, seconds in STAGES:
        order = [0, *[index for index in order if index][: left - 1]]
        times = max(1, min(most, math.ceil(seconds * watch.stretch / each)))
        took: dict[int, list[float]] = {index: [] for index in order}
        for number in range(rounds):
            for index in order[:: -1 if number % 2 else 1]:  # there and back, against a clock that drifts
                took[index].append(await watch.seconds(recorded[index], times) / times)
        known |= {index: median(took[index]) for index in order}
        order.sort(key=lambda index: known[index])
        if rounds > 1 and order[0] == 0:
            break
    best, part = order[0], count / len(lines[0])
    if median(a / b for a, b in zip(took[best], took[0], strict=True)) > 1 - MARGIN:
        best = 0
    table = tuple((variants[index], part * known[index]) for index in range(len(variants)))
    return Outcome(variants[best], part * known[0], part * known[best], table)
