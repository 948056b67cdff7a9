"""Weight matrices on the GPU: how much they take, how they are split, how a file's bytes are repacked into them.

Knows the block formats (docs/architecture.md), no file formats and no models.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.errors import OutOfMemory, UnsupportedModel
from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps

BLOCK = 32  # weights
_LANES = 64  # of repack


@dataclass(frozen=True)
class Format:
    """Bytes of one unit, which is `span` blocks of 32 weights: in quants, in scales, and in the file."""

    quants: int
    scales: int
    file_unit: int  # 0: the file has rows, not blocks
    file_weight: int = 0  # bytes of a weight in the file, where it has rows
    span: int = 1


FORMATS = {
    "f32": Format(128, 0, 0, 4),
    "f16": Format(64, 0, 0, 2),
    "bf16": Format(64, 0, 0, 2),
    "q8_0": Format(32, 2, 34),
    "q4_0": Format(16, 2, 18),
    "q4_1": Format(16, 4, 20),
    "q5_0": Format(16, 8, 22),
    "q5_1": Format(16, 8, 24),
    "iq4_nl": Format(16, 2, 18),
    "mxfp4": Format(16, 1, 17),
    "q2_k": Format(80, 4, 84, span=8),
    "q3_k": Format(112, 0, 110, span=8),
    "q4_k": Format(144, 0, 144, span=8),
    "q5_k": Format(176, 0, 176, span=8),
    "q6_k": Format(208, 4, 210, span=8),
    "iq4_xs": Format(128, 8, 136, span=8),
}


@dataclass(frozen=True)
class Part:
    """Rows [row_start, row_start + rows) of a weight; block 0 of the buffers is the first block of row_start."""

    row_start: int
    rows: int
    quants: Buffer
    scales: Buffer  # unused where the format has none


@dataclass(frozen=True)
class Weight:
    """W[rows, cols] in a block format, split by rows into parts that can each be bound."""

    format: str
    rows: int
    cols: int
    parts: tuple[Part, ...]

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return _blocks(self.cols)


def _blocks(cols: int) -> int:
    return -(-cols // BLOCK)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UnsupportedModel(
            f"Weights of type {name} were found; supported are {', '.join(FORMATS)}.",
            remedy="Use a file that is quantized to one of these.",
        )
    return FORMATS[name]


def _sizes(format: Format, blocks: int) -> tuple[int, int]:
    """Bytes of quants and of scales (a multiple of 4) for so many blocks, which are whole units."""
    units = blocks // format.span
    return format.quants * units, (format.scales * units + 3) // 4 * 4


def packed_bytes(format: str, rows: int, cols: int) -> int:
    """Bytes that W[rows, cols] takes on the GPU, without the rounding up of each buffer to 16."""
    return sum(_sizes(_format(format), rows * _blocks(cols)))


def allocate(memory: Memory, caps: Caps, format: str, rows: int, cols: int, label: str) -> Weight:
    """An empty W[rows, cols], in as many parts as the adapter's largest binding demands.

    Raises UnsupportedModel for an unknown format or a row that is no whole number of units, and OutOfMemory.
    """
    layout = _format(format)
    unit = BLOCK * layout.span
    if layout.file_unit and cols % unit:
        raise UnsupportedModel(f"'{label}' has rows of {cols} weights; {format} needs a multiple of {unit}.")
    limit = min(caps.max_binding_bytes, caps.max_buffer_bytes)
    row_bytes = max(_sizes(layout, _blocks(cols)))
    if row_bytes > limit:
        raise OutOfMemory(f"One row of '{label}' takes {row_bytes} bytes; this adapter binds at most {limit} bytes.")
    count = -(-rows // (limit // row_bytes))
    each = -(-rows // count)
    parts = []
    for start in range(0, rows, each):
        size = min(each, rows - start)
        nquants, nscales = _sizes(layout, size * _blocks(cols))
        quants = memory.create(nquants, label)
        scales = memory.create(nscales, label)
        parts.append(Part(start, size, quants, scales))
    return Weight(format, rows, cols, tuple(parts))


def repack_calls(
    weight: Weight, raw: Buffer, byte_offset: int, first_block: int, count: int, first_row: int = 0
) -> list[Call]:
    """Turn `count` of the file's blocks at byte `byte_offset` of `raw` into blocks of weight.

    first_block: the first one's number in the matrix that begins at row first_row of weight. The blocks are the file's
    own, of 32 or 256 weights; files keep f32, f16 and bf16 in rows, so for these first_block and count are rows.
    One call per part that has a share.
    """
    layout = _format(weight.format)
    units = weight.blocks // layout.span  # in a row
    each = 1 if layout.file_unit else units  # our units in one of the file's blocks
    each_bytes = layout.file_unit or layout.file_weight * weight.cols
    first = first_row * units + first_block * each
    last = first + count * each
    kernel = Kernel.of("repack", {"raw": f"raw_{weight.format}"}, LANES=_LANES)
    calls = []
    for part in weight.parts:
        start = part.row_start * units
        low, high = max(first, start), min(last, start + part.rows * units)
        if low < high:
            source = byte_offset + (low - first) // each * each_bytes
            params = pack(source, high - low, low - start, weight.cols, weight.blocks)
            buffers = (raw, part.quants, part.scales)
            calls.append(Call(kernel, buffers, spread(-(-(high - low) // _LANES)), params))
    return calls
