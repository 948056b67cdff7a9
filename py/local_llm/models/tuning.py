"""Which variants of a step's products are the fastest on this adapter: the model's own calls, timed.

They write into a buffer apart, those of prompts into scratch, so that nothing that a model keeps changes. Knows no host
and keeps nothing.
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
from local_llm.gpu.kernel import Call, Kernel, pack
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device, Handle, Stopwatch
from local_llm.models.model import HEADS, Model, exact
from local_llm.ops.attention import REACHES
from local_llm.ops.shared import Shared
from local_llm.ops.variants import EXACT, ROUNDED, Shape, Variant, candidates, shape_of
from local_llm.ops.weight import Weight, packed_bytes

KERNELS = ("matvec_glu", "matvec", "matmul")
PROMPT = 64  # tokens of the step in which rounded products of prompts race exact ones
DUELS, SLOW = 3, 0.02  # so often they are timed, once where it takes longer (seconds)
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
    known, found = _weights(model), Calls()
    for call in calls:
        kernel = next((name for name in KERNELS if call.kernel.name.startswith(name)), "")
        if kernel and (weight := known.get(call.buffers[0])):
            found.setdefault(shape_of(weight.shared, weight.it, kernel), []).append(call)
    return found


def prompts(model: Model) -> Calls:
    """Products of a prompt's step whose inputs may be rounded, by shape: the calls for the first matrix of each."""
    known, first, found = _weights(model), dict[Shape, Weight](), Calls()
    rounding: list[Call] = []
    for call in model.family.layers(model, min(PROMPT, model.max_chunk)) if model.shared.rounded else ():
        weight = known.get(call.buffers[0])
        shape = shape_of(weight.shared, weight.it, "matmul") if weight else None
        if weight and shape and shape.int8 and first.setdefault(shape, weight.it) is weight.it:
            found[shape] = [*found.get(shape, []), *rounding, call]
        rounding = [call] if call.kernel.name == "round_rows" else []
    return found


@dataclass(frozen=True)
class _Used:
    """A weight, and by which choices it is multiplied."""

    it: Weight
    shared: Shared


def _weights(model: Model) -> dict[Buffer, _Used]:
    """By the buffer that a call has of it."""
    found, heads = {}, exact(model).shared
    for name, stack in model.weights.matrices.items():
        for one in stack:
            used = _Used(one.weight, heads if name in HEADS else model.shared)
            found |= {part.quants: used for part in one.weight.parts}
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
    caps, began = model.shared.caps, clock()
    memory = Memory(model.memory.device)
    try:
        rows = max(sum(one.weight.rows for one in stack) for stack in model.weights.matrices.values())
        room = max(4 * rows, model.scratch.x.nbytes)
        step = memory.upload(pack(0, min(PROMPT, model.max_chunk), 0, 0), "tuning")
        model = replace(model, shared=replace(model.shared, step=step))
        order = [shape for shape in (*prompts(model), *products(model)) if shape in shapes]
        watch = _Watch(memory, clock, memory.create(room, "tuning"))
        variants = {shape: candidates(caps, shape) for shape in order}
        lines = _lines(model, variants)
        found: dict[Shape, Outcome] = {}
        for done, shape in enumerate(order):
            tell(done, len(order))
            found[shape] = Outcome(variants[shape][0])
            run, share = (_duel, 0.5) if shape.kernel == "matmul" else (_heats, 1.0)  # on slow GPUs prompts take long
            if clock() < began + share * seconds and len(variants[shape]) > 1:
                with suppress(GPUFault):  # one that does not compile here, or does not run
                    found[shape] = await run(watch, variants[shape], lines[shape], WARM_AGAIN if done else WARM_UP)
        return found
    finally:
        memory.close()


def _lines(model: Model, variants: Mapping[Shape, Sequence[Variant]]) -> dict[Shape, list[list[Call]]]:
    """The calls of each shape by each of its variants."""
    lines: dict[Shape, list[list[Call]]] = {shape: [] for shape in variants}
    for index in range(max((len(some) for some in variants.values()), default=0)):
        now = {shape: some[index] for shape, some in variants.items() if index < len(some)}
        for taking in (False, True):  # who takes what others leave needs others that can leave it
            some = {shape: one for shape, one in now.items() if one.takes_left == taking}
            model_so = chosen(model, some)
            found = {**products(model_so), **prompts(model_so)} if some else {}
            for shape in some:
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
        return self._compiler.record(
            [self._apart(call) if call.kernel.name.startswith("matvec") else call for call in line]
        )

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


async def _duel(watch: _Watch, variants: Sequence[Variant], lines: list[list[Call]], warm_up: float) -> Outcome:
    """A prompt's products with rounded inputs and with exact ones, in turns."""
    assert tuple(variants) == (ROUNDED, EXACT)
    await watch.prepare(lines)
    rounded, exact = (watch.record(line) for line in lines)
    most = max(1, MOST_DISPATCHES // len(lines[0]))
    each = await watch.warm(rounded, warm_up, most)
    if each <= INSTANT:
        return Outcome(ROUNDED)
    times = max(1, min(most, math.ceil(STAGES[-1][2] * watch.stretch / each)))
    rounds = DUELS if each < SLOW else 1
    took = [[await watch.seconds(one, times) / times for one in (rounded, exact)] for _ in range(rounds)]
    before, other = (median(each) for each in zip(*took, strict=True))
    wins = median(b / a for a, b in took) <= 1 - MARGIN
    table = ((ROUNDED, before), (EXACT, other))
    return Outcome(EXACT, before, other, table) if wins else Outcome(ROUNDED, before, before, table)


async def _heats(watch: _Watch, variants: Sequence[Variant], lines: list[list[Call]], warm_up: float) -> Outcome:
    """Those that round their inputs and the first exact one; where that wins, the exact ones."""
    rounding = sum(variant.int8 for variant in variants)
    if not rounding:
        return await _race(watch, variants, lines, warm_up)
    first = await _race(watch, variants[: rounding + 1], lines[: rounding + 1], warm_up)
    if first.variant.int8:
        return first
    last = await _race(watch, variants[rounding:], lines[rounding:], WARM_AGAIN)
    return replace(last, before=first.before, table=(*first.table[:-1], *last.table))


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
