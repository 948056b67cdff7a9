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
from local_llm.gpu.ports import Caps, Device, Handle, Stopwatch
from local_llm.models.model import HEADS, Model, exact
from local_llm.ops.attention import REACHES
from local_llm.ops.leaving import leaves_evenly
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

    table: each candidate and its seconds, as far as it came; the rule's first. instead: the best of those that take
    nothing that was left, and its seconds, where `variant` does.
    """

    variant: Variant
    before: float = 0.0
    after: float = 0.0
    table: tuple[tuple[Variant, float], ...] = ()
    instead: tuple[Variant, float] | None = None

    @property
    def apart(self) -> Outcome:
        """What shall run where each product rounds its own input."""
        if not self.variant.takes_left:
            return self
        variant, after = self.instead or (self.table[0][0], self.before)
        return replace(self, variant=variant, after=after, instead=None)


def chosen(model: Model, variants: Mapping[Shape, Variant]) -> Model:
    """The model with such variants, and the rules' for all other shapes."""
    return replace(model, shared=replace(model.shared, choices=dict(variants)))


def live(model: Model, variants: Mapping[Shape, Variant]) -> dict[Shape, Variant]:
    """Without those that take what is left where, with the others, nothing is: what would run then was never timed."""
    kept = dict(variants)
    while any(one.takes_left for one in kept.values()):
        calls = products(chosen(model, kept))
        idle = [shape for shape, one in kept.items() if one.takes_left and not any(map(_takes, calls.get(shape, ())))]
        if not idle:
            break
        for shape in idle:
            del kept[shape]
    return kept


def _takes(call: Call) -> bool:
    """Whether it takes what another product left."""
    return ("team_rows", "left_rows") in call.kernel.includes


def _layers(model: Model) -> list[Call]:
    reach = REACHES[1] if model.context > REACHES[1] else 0
    return model.family.layers(replace(model, reach=reach), 1)


def products(model: Model) -> Calls:
    """The products of a step of one token, early in a text, by shape; those that read most come first."""
    calls = _layers(model)
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
        lines = _lines(model, {shape: candidates(caps, shape) for shape in order})
        found: dict[Shape, Outcome] = {}
        for done, shape in enumerate(order):
            tell(done, len(order))
            variants, calls = zip(*lines[shape], strict=True)
            found[shape] = Outcome(variants[0])
            run, share = (_duel, 0.5) if shape.kernel == "matmul" else (_heats, 1.0)  # on slow GPUs prompts take long
            if clock() < began + share * seconds and len(variants) > 1:
                with suppress(GPUFault):  # the rule's does not compile here, or one does not run
                    found[shape] = await run(watch, variants, list(calls), WARM_AGAIN if done else WARM_UP)
        if any(one.variant.takes_left for one in found.values()):
            found = await _together(watch, model, found, clock() < began + seconds)
        return found
    finally:
        memory.close()


Lines = dict[Shape, list[tuple[Variant, list[Call]]]]


def _lines(model: Model, variants: Mapping[Shape, Sequence[Variant]]) -> Lines:
    """The calls of each shape by each of its variants."""
    lines: Lines = {shape: [] for shape in variants}
    for index in range(max((len(some) for some in variants.values()), default=0)):
        now = {shape: some[index] for shape, some in variants.items() if index < len(some)}
        for taking in (False, True):  # who takes what others leave needs others that can leave it
            some = {shape: one for shape, one in now.items() if one.takes_left == taking}
            model_so = chosen(model, some)
            found = {**products(model_so), **prompts(model_so)} if some else {}
            for shape, one in some.items():
                lines[shape].append((one, found[shape]))
    return {shape: _comparable(some) for shape, some in lines.items()}


def _comparable(lines: list[tuple[Variant, list[Call]]]) -> list[tuple[Variant, list[Call]]]:
    """Those that take what is left only where something is, and of all lines the calls for which it is."""
    taking = next((line for variant, line in lines if variant.takes_left), [])
    where = [number for number, call in enumerate(taking) if _takes(call)]
    if not where:
        return [(variant, line) for variant, line in lines if not variant.takes_left]
    return [(variant, [line[number] for number in where]) for variant, line in lines]


class _Watch:
    """Times calls on the GPU, whatever they write going into `target`."""

    def __init__(self, memory: Memory, clock: Callable[[], float], target: Buffer) -> None:
        self._device: Device = memory.device
        self._clock, self._target = clock, target
        self._compiler = Compiler(memory.device, memory)
        exact = "timestamp-query" in memory.device.caps.features
        self._stopwatch = memory.device if exact and isinstance(memory.device, Stopwatch) else None
        self.stretch = 1 if self._stopwatch else BY_HOST

    async def prepare(self, lines: Sequence[Sequence[Call]]) -> list[int]:
        """Numbers of the lines that compile here. Raises GPUFault where the first one does not."""
        faults = await self._compiler.refused([call for line in lines for call in line])
        for call in lines[0]:
            if call.kernel in faults:
                raise faults[call.kernel]
        return [index for index, line in enumerate(lines) if not any(call.kernel in faults for call in line)]

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
    before, other, wins = await _turns(watch, lines, warm_up)
    if before <= INSTANT:
        return Outcome(ROUNDED)
    table = ((ROUNDED, before), (EXACT, other))
    return Outcome(EXACT, before, other, table) if wins else Outcome(ROUNDED, before, before, table)


async def _turns(watch: _Watch, lines: list[list[Call]], warm_up: float) -> tuple[float, float, bool]:
    """Seconds of two lines, in turns, and whether the second wins by MARGIN. Raises GPUFault."""
    if await watch.prepare(lines) != [0, 1]:
        raise GPUFault("One of two lines does not compile.")
    one, other = (watch.record(line) for line in lines)
    most = max(1, MOST_DISPATCHES // len(lines[0]))
    each = await watch.warm(one, warm_up, most)
    if each <= INSTANT:
        return each, each, False
    times = max(1, min(most, math.ceil(STAGES[-1][2] * watch.stretch / each)))
    rounds = DUELS if each < SLOW else 1
    took = [[await watch.seconds(it, times) / times for it in (one, other)] for _ in range(rounds)]
    before, after = (median(each) for each in zip(*took, strict=True))
    return before, after, median(b / a for a, b in took) <= 1 - MARGIN


async def _together(watch: _Watch, model: Model, found: dict[Shape, Outcome], time_left: bool) -> dict[Shape, Outcome]:
    """With the links between products where whole layers are faster by them, their givers' part included."""
    caps = model.shared.caps
    apart = {shape: one.apart for shape, one in found.items()}
    linked = {shape: _leaving(shape, one, caps) for shape, one in found.items()}
    kept = live(model, {**model.shared.choices, **{shape: one.variant for shape, one in linked.items()}})
    linked = {shape: one if shape in kept else apart[shape] for shape, one in linked.items()}
    lines = [_middle(model, some) for some in (apart, linked)]
    if not time_left or not any(map(_takes, lines[1])):
        return apart
    with suppress(GPUFault):
        before, after, wins = await _turns(watch, lines, WARM_AGAIN)
        if wins:
            timed = by_shape(model, lines[1]).keys() & linked.keys()
            share = sum(apart[shape].after for shape in timed) / sum(linked[shape].after for shape in timed)
            return {
                shape: replace(one, after=one.after * share * after / before) if shape in timed else one
                for shape, one in linked.items()
            }
    return apart


def _leaving(shape: Shape, found: Outcome, caps: Caps) -> Outcome:
    """The fastest that can leave its results, which others may take."""
    pairs = shape.kernel == "matvec_glu"
    if shape.kernel == "matmul" or leaves_evenly(found.variant, pairs):
        return found
    even = [one for one in found.table if leaves_evenly(one[0], pairs)]
    variant, after = min(even, key=lambda one: one[1], default=(candidates(caps, shape)[0], found.before))
    return replace(found, variant=variant, after=after)


def _middle(model: Model, found: Mapping[Shape, Outcome]) -> list[Call]:
    """As many products as a race times of a shape, from the middle of a step: as many of each kind, or nearly so."""
    variants = {shape: one.variant for shape, one in found.items()}
    calls = _layers(chosen(model, {**model.shared.choices, **variants}))
    calls = [call for call in calls if call.kernel.name.startswith("matvec")]
    first = max(0, (len(calls) - MOST_CALLS) // 2)
    return calls[first : first + MOST_CALLS]


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
    compiled = await watch.prepare(lines)
    variants, lines = [variants[index] for index in compiled], [lines[index] for index in compiled]
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
    instead = None
    if variants[best].takes_left:
        other = min((index for index in known if not variants[index].takes_left), key=lambda index: known[index])
        other = other if known[other] <= (1 - MARGIN) * known[0] else 0
        instead = variants[other], part * known[other]
    return Outcome(variants[best], part * known[0], part * known[best], table, instead)
