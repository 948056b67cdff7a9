"""Cuts a file's tensors into windows: ranges of bytes small enough for a staging buffer. Knows no GPU."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from local_llm.errors import UnsupportedModel
from local_llm.formats.checkpoint import Tensor

_MAX_GAP = 4096  # bytes of a tensor that nobody wants are not fetched; padding between tensors is


@dataclass(frozen=True)
class Slice:
    """Pieces [first_block, first_block + blocks) of a tensor, `offset` bytes into the window.

    A piece is what its type says (TensorType.piece): for most a block, a row for F32, F16 and BF16.
    """

    tensor: Tensor
    first_block: int
    blocks: int
    offset: int


@dataclass(frozen=True)
class Window:
    """Bytes [start, stop) of the file and what they hold. start: a multiple of 4; stop need not be one."""

    start: int
    stop: int
    slices: tuple[Slice, ...]


def block_bytes(tensor: Tensor) -> int:
    """Bytes of what `Slice` counts."""
    return tensor.type.piece_bytes(math.prod(tensor.shape[:-1]), tensor.shape[-1])


def plan_windows(tensors: Iterable[Tensor], window_bytes: int) -> list[Window]:
    """Windows of at most window_bytes (a multiple of 4) that hold every piece of `tensors` once, in file order.

    Raises UnsupportedModel where a piece is larger than a window.
    """
    windows: list[Window] = []
    slices: list[Slice] = []
    start = stop = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.start):
        size = block_bytes(tensor)
        unit = 4 // math.gcd(size, 4)  # blocks between two places where the byte position is a multiple of 4
        if unit * size + tensor.start % 4 > window_bytes:
            raise UnsupportedModel(
                f"Tensor '{tensor.name}' has rows of {size} bytes, more than fit into a window of {window_bytes}."
            )
        first, blocks = 0, tensor.nbytes // size
        while first < blocks:
            at = tensor.start + first * size
            room = (start + window_bytes - at) // size
            fits = blocks - first if room >= blocks - first else room // unit * unit
            if slices and (fits < 1 or at - stop > _MAX_GAP):
                windows.append(Window(start, stop, tuple(slices)))
                slices = []
            if not slices:
                start, stop = at // 4 * 4, at
                room = (start + window_bytes - at) // size
                fits = blocks - first if room >= blocks - first else room // unit * unit
            slices.append(Slice(tensor, first, fits, at - start))
            first += fits
            stop = at + fits * size
    if slices:
        windows.append(Window(start, stop, tuple(slices)))
    return windows
