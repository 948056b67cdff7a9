"""Weight matrices on the GPU: how much they take, how they are split, how a file's bytes are repacked into them.

Knows the block formats (docs/architecture.md) and how files store tensors (formats.quant), no files and no models.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.errors import OutOfMemory, UnsupportedModel
from local_llm.formats.quant import BY_FORMAT, QUANTIZED, TensorType
from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps

BLOCK = 32  # weights
_LANES = 64  # of repack


@dataclass(frozen=True)
class Format:
    """Bytes of one unit, which is `span` blocks of 32 weights: in quants and in scales."""

    quants: int
    scales: int
    span: int = 1


FORMATS = {
    "f32": Format(128, 0),
    "f16": Format(64, 0),
    "bf16": Format(64, 0),
    "q8_0": Format(32, 2),
    "q4_0": Format(16, 2),
    "q4_1": Format(16, 4),
    "q5_0": Format(16, 8),
    "q5_1": Format(16, 8),
    "iq4_nl": Format(16, 2),
    "mxfp4": Format(16, 1),
    "q2_k": Format(80, 4, span=8),
    "q3_k": Format(112, 0, span=8),
    "q4_k": Format(144, 0, span=8),
    "q5_k": Format(176, 0, span=8),
    "q6_k": Format(208, 4, span=8),
    "iq4_xs": Format(128, 8, span=8),
    "q4f16_1": Format(16, 2),
    "q4f32_1": Format(16, 4),
    "q3f16_1": Format(16, 0),
}
_FLOATS = {"f32": 0, "f16": 1, "bf16": 2}  # numbers of the kernel quantize


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
    if layout.span > 1 and cols % unit:
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
    weight: Weight,
    raw: Buffer,
    byte_offset: int,
    first_piece: int,
    count: int,
    first_row: int = 0,
    *,
    stored: TensorType | None = None,
    rows: int = 0,
) -> list[Call]:
    """Turn `count` pieces at byte `byte_offset` of `raw` into weights.

    They are those of a matrix that begins at row first_row of weight: numbers first_piece, first_piece + 1, …
    stored: how they lie in raw, and what a piece is (None: as GGUF stores weight's format). Floats are quantized where
    its format is one of QUANTIZED. rows: of that matrix, where it lies transposed. One call per part that has a share.
    """
    stored = stored or BY_FORMAT[weight.format]
    kernel, extra = _kernel(weight.format, stored), (0, 0, 0)
    units = weight.blocks // _format(weight.format).span  # in a row
    each = units if stored.piece == "row" else 1  # our units in a piece
    first = first_row * units + first_piece * each
    last = first + count * each
    calls = []
    for part in weight.parts:
        start = part.row_start * units
        if stored.piece == "group":
            top, bottom = max(first_row, part.row_start), min(first_row + rows, part.row_start + part.rows)
            low, size, source = top * units + first_piece, count * (bottom - top), byte_offset
            extra = (rows, top - first_row, bottom - top)
        else:
            low = max(first, start)
            size = min(last, start + part.rows * units) - low
            source = byte_offset + (low - first) // each * stored.piece_bytes(1, weight.cols)
        if size > 0:
            params = pack(source, size, low - start, weight.cols, weight.blocks, *extra)
            buffers = (raw, part.quants, part.scales)
            calls.append(Call(kernel, buffers, spread(-(-size // _LANES)), params))
    return calls


def _kernel(format: str, stored: TensorType) -> Kernel:
    if format != stored.format:
        raise UnsupportedModel(f"{stored.name} is loaded as {stored.format}, not as {format}.")
    if stored.block > 1 or format in _FLOATS:
        return Kernel.of("repack", {"raw": f"raw_{stored.raw or format}"}, LANES=_LANES)
    if format not in QUANTIZED.values():
        raise UnsupportedModel(f"{stored.name} cannot become {format}; it can become {', '.join(QUANTIZED.values())}.")
    return Kernel.of("quantize", {"target": f"quantize_{format}"}, LANES=_LANES, TYPE=_FLOATS[stored.name.lower()])
