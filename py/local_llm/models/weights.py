"""Weights on their way from a file to the GPU: what a model asks for, what the file has, where the bytes go.

Bytes are streamed window by window in file order through one staging buffer and repacked on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint, Tensor
from local_llm.formats.quant import SUPPORTED_FORMATS
from local_llm.formats.windows import Slice, Window, plan_windows
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Blobs, Device
from local_llm.ops.weight import Weight, allocate, repack_calls

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
class Placed:
    """A part of a stack: neighbours of equal type share one weight. row: its first row in the stack."""

    weight: Weight
    row: int


Weights = Mapping[str, tuple[Placed, ...]]


def vector(weights: Weights, name: str) -> Buffer:
    """A one-row f32 weight as a plain buffer, f32 [cols]."""
    return weights[name][0].weight.parts[0].quants


def check(checkpoint: Checkpoint, stacks: Sequence[Stack]) -> None:
    """Every tensor is there, has the shape that the metadata implies and a type that we decode."""
    for source in (source for stack in stacks for source in stack.sources):
        tensor = checkpoint.tensors.get(source.tensor)
        if tensor is None:
            if source.optional:
                continue
            raise CorruptModel(
                f"{checkpoint.name}: tensor '{source.tensor}' is missing.", remedy="Download the file again."
            )
        found = tensor.shape if len(tensor.shape) > 1 else (1, *tensor.shape)
        if found != (source.rows, source.cols):
            wanted = (source.rows, source.cols)
            raise CorruptModel(
                f"{checkpoint.name}: tensor '{source.tensor}' has shape {found}, the metadata says {wanted}."
            )
        if tensor.type.format is None or (source.rows == 1 and tensor.type.format != "f32"):
            kinds = "F32" if source.rows == 1 else ", ".join(SUPPORTED_FORMATS)
            raise UnsupportedModel(
                f"{checkpoint.name}: tensor '{source.tensor}' is {tensor.type.name}; supported here: {kinds}.",
                remedy="Choose another quantization of this model.",
            )


def place(
    checkpoint: Checkpoint, stacks: Sequence[Stack], memory: Memory
) -> tuple[Weights, dict[str, tuple[Weight, int]]]:
    """Allocate all weights. Returns them by stack, and per tensor its weight and first row in it."""
    caps = memory.device.caps
    placed: dict[str, tuple[Placed, ...]] = {}
    targets: dict[str, tuple[Weight, int]] = {}
    for stack in stacks:
        parts: list[Placed] = []
        row = 0
        for group in _neighbours(checkpoint, stack):
            rows = sum(source.rows for source in group)
            kind = checkpoint.tensors[group[0].tensor].type.format
            assert kind is not None  # check() has seen to it
            weight = allocate(memory, caps, kind, rows, group[0].cols, "weights")
            parts.append(Placed(weight, row))
            first = 0
            for source in group:
                targets[source.tensor] = (weight, first)
                first += source.rows
            row += rows
        if parts:
            placed[stack.name] = tuple(parts)
    return placed, targets


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
    targets: Mapping[str, tuple[Weight, int]],
    progress: Callable[[int, int], None],
) -> None:
    """Bring every wanted tensor's bytes to its place. progress(done, total) in bytes."""
    wanted = [tensor for tensor in tensors if tensor.name in targets]
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


def _repack(window: Window, raw: Buffer, targets: Mapping[str, tuple[Weight, int]]) -> list[Call]:
    def one(piece: Slice) -> list[Call]:
        weight, first_row = targets[piece.tensor.name]
        return repack_calls(weight, raw, piece.offset, piece.first_block, piece.blocks, first_row)

    return [call for piece in window.slices for call in one(piece)]
