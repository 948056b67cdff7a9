"""Weights on their way from a file to the GPU: what a model asks for, what the file has, where the bytes go.

Bytes are streamed window by window in file order through one staging buffer and repacked on the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint, Tensor
from local_llm.formats.quant import TENSOR_TYPES
from local_llm.formats.windows import Slice, Window, plan_windows
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Blobs, Device
from local_llm.ops.vector import VECTOR_FORMATS, allocate_vector, repack_vector
from local_llm.ops.weight import FORMATS, Weight, allocate, repack_calls

WINDOW_BYTES = 32 << 20


@dataclass(frozen=True)
class Source:
    """One tensor a model wants from the file. optional: the model can do without."""

    tensor: str
    rows: int
    cols: int
    optional: bool = False


@dataclass(frozen=True)
class Stack:
    """Tensors that a model multiplies by the same input, one above the other: q, k, v; gate, up. Or just one."""

    name: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Vector:
    """Vectors (and small tables) of the file, one behind the other, as f32: a number n becomes factor · n + addend."""

    name: str
    sources: tuple[Source, ...]
    factor: float = 1.0
    addend: float = 0.0


@dataclass(frozen=True)
class Placed:
    """A part of a stack: neighbours of equal type share one weight. row: its first row in the stack."""

    weight: Weight
    row: int


@dataclass(frozen=True)
class Weights:
    """What a model has on the GPU, by the names of its Stacks and Vectors; of absent vectors there is none."""

    matrices: Mapping[str, tuple[Placed, ...]]
    vectors: Mapping[str, Buffer]

    def rows(self, name: str) -> int:
        """Rows of a whole stack."""
        return sum(placed.weight.rows for placed in self.matrices[name])


@dataclass(frozen=True)
class Target:
    """Where a tensor goes: a weight and a row of it, or a buffer and a place in it."""

    wanted: Stack | Vector
    place: Weight | Buffer
    first: int


def check(checkpoint: Checkpoint, wanted: Sequence[Stack | Vector]) -> None:
    """Every tensor is there, with the shape that the metadata implies and a type we decode; no bias is left over."""
    known = {source.tensor for item in wanted for source in item.sources}
    for name in checkpoint.tensors:
        if name.endswith(".bias") and name not in known:
            raise UnsupportedModel(f"{checkpoint.name}: the bias '{name}' has no place in {checkpoint.architecture}.")
    for item in wanted:
        for source in item.sources:
            _check(checkpoint, source, VECTOR_FORMATS if isinstance(item, Vector) else FORMATS)


def _check(checkpoint: Checkpoint, source: Source, formats: Collection[str]) -> None:
    name = checkpoint.name
    tensor = checkpoint.tensors.get(source.tensor)
    if tensor is None:
        if source.optional:
            return
        raise CorruptModel(f"{name}: tensor '{source.tensor}' is missing.", remedy="Download the file again.")
    found = (math.prod(tensor.shape[:-1]), tensor.shape[-1])
    if found != (source.rows, source.cols):
        shape = (source.rows, source.cols)
        raise CorruptModel(f"{name}: tensor '{source.tensor}' has shape {found}, the metadata says {shape}.")
    if tensor.type.format not in formats:
        kinds = [kind.name for kind in TENSOR_TYPES if kind.format in formats]
        raise UnsupportedModel(
            f"{name}: tensor '{source.tensor}' is {tensor.type.name}; supported here: {', '.join(kinds)}.",
            remedy="Choose another quantization of this model.",
        )


def place(
    checkpoint: Checkpoint, wanted: Sequence[Stack | Vector], memory: Memory
) -> tuple[Weights, dict[str, Target]]:
    """Allocate everything. Returns it by name, and where each tensor goes."""
    targets: dict[str, Target] = {}
    matrices: dict[str, tuple[Placed, ...]] = {}
    vectors: dict[str, Buffer] = {}
    for item in wanted:
        if isinstance(item, Vector):
            if any(source.tensor in checkpoint.tensors for source in item.sources):
                vectors[item.name] = _place_vector(item, memory, targets)
        elif parts := _place_stack(checkpoint, item, memory, targets):
            matrices[item.name] = tuple(parts)
    return Weights(matrices, vectors), targets


def _place_vector(item: Vector, memory: Memory, targets: dict[str, Target]) -> Buffer:
    buffer = allocate_vector(memory, sum(source.rows * source.cols for source in item.sources), "weights")
    first = 0
    for source in item.sources:
        targets[source.tensor] = Target(item, buffer, first)
        first += source.rows * source.cols
    return buffer


def _place_stack(checkpoint: Checkpoint, item: Stack, memory: Memory, targets: dict[str, Target]) -> list[Placed]:
    parts: list[Placed] = []
    row = 0
    for group in _neighbours(checkpoint, item):
        rows = sum(source.rows for source in group)
        kind = checkpoint.tensors[group[0].tensor].type.format
        assert kind is not None  # check() has seen to it
        weight = allocate(memory, memory.device.caps, kind, rows, group[0].cols, "weights")
        parts.append(Placed(weight, row))
        first = 0
        for source in group:
            targets[source.tensor] = Target(item, weight, first)
            first += source.rows
        row += rows
    return parts


def _neighbours(checkpoint: Checkpoint, stack: Stack) -> list[list[Source]]:
    groups: list[list[Source]] = []
    for source in stack.sources:
        tensor = checkpoint.tensors.get(source.tensor)
        if tensor is None:
            continue
        if groups and checkpoint.tensors[groups[-1][0].tensor].type is tensor.type:
            groups[-1].append(source)
        else:
            groups.append([source])
    return groups


async def stream(
    device: Device,
    blobs: Blobs,
    tensors: Sequence[Tensor],
    targets: Mapping[str, Target],
    progress: Callable[[int, int], None],
) -> None:
    """Bring every wanted tensor's bytes to its place. progress(done, total) in bytes."""
    wanted = [tensor for tensor in tensors if tensor.name in targets]
    apart = {tensor.scales.name: targets[tensor.name] for tensor in wanted if tensor.scales}
    targets = {**targets, **apart}
    wanted += [tensor.scales for tensor in wanted if tensor.scales]
    windows = plan_windows(wanted, WINDOW_BYTES)
    total = sum(window.stop - window.start for window in windows)
    done = 0

    def arrived(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    memory = Memory(device)
    try:
        raw = memory.create(max((window.stop - window.start for window in windows), default=4), "staging")
        compiler = Compiler(device, memory)
        for window in windows:
            await blobs.stream_into(device, raw.handle, window.start, window.stop, arrived)
            calls = _repack(window, raw, targets)
            await compiler.prepare(calls)
            device.submit(compiler.record(calls))
        await device.idle()
    finally:
        memory.close()


def _repack(window: Window, raw: Buffer, targets: Mapping[str, Target]) -> list[Call]:
    return [call for piece in window.slices for call in _repack_slice(piece, raw, targets[piece.tensor.name])]


def _repack_slice(piece: Slice, raw: Buffer, target: Target) -> list[Call]:
    wanted, place, first = target.wanted, target.place, target.first
    if isinstance(place, Weight):
        stored, rows = piece.tensor.type, piece.tensor.shape[0]
        return repack_calls(place, raw, piece.offset, piece.first_block, piece.blocks, first, stored=stored, rows=rows)
    assert isinstance(wanted, Vector)
    assert piece.tensor.type.format
    first += piece.first_block * piece.tensor.shape[-1]
    count = piece.blocks * piece.tensor.shape[-1]
    numbers = {"factor": wanted.factor, "addend": wanted.addend}
    return repack_vector(piece.tensor.type.format, raw, piece.offset, place, first, count, **numbers)
