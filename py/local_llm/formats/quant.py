"""How files store tensors: how many weights a block holds, how many bytes, and which of our GPU formats decodes it.

Knows no file and no GPU. GGUF's types without a GPU format are listed so that messages can name them; MLC's types are
pairs, because it keeps the scales in a tensor of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from local_llm.errors import UnsupportedModel


@dataclass(frozen=True)
class TensorType:
    """One storage type: `block` weights take `nbytes` bytes; `format` is the GPU format, None where there is none.

    piece: what is never cut and counted when a matrix is loaded in pieces. A "row" has ceil(cols / block) blocks; a
    "group" is block g of all rows, for a matrix that lies transposed.
    """

    name: str  # the file format's, for example "Q4_1"
    code: int  # ggml's number in the file; -1 for what no GGUF has
    block: int
    nbytes: int
    format: str | None
    piece: Literal["block", "row", "group"] = "block"
    raw: str = ""  # shaders/lib/raw_<raw>.wgsl reads it; "" where that is named as the format

    def piece_bytes(self, rows: int, cols: int) -> int:
        """Bytes of one piece of a matrix."""
        count = {"block": 1, "row": -(-cols // self.block), "group": rows}[self.piece]
        return self.nbytes * count


_TABLE = (
    ("F32", 0, 1, 4, "f32"),
    ("F16", 1, 1, 2, "f16"),
    ("Q4_0", 2, 32, 18, "q4_0"),
    ("Q4_1", 3, 32, 20, "q4_1"),
    ("Q5_0", 6, 32, 22, "q5_0"),
    ("Q5_1", 7, 32, 24, "q5_1"),
    ("Q8_0", 8, 32, 34, "q8_0"),
    ("Q8_1", 9, 32, 40, None),
    ("Q2_K", 10, 256, 84, "q2_k"),
    ("Q3_K", 11, 256, 110, "q3_k"),
    ("Q4_K", 12, 256, 144, "q4_k"),
    ("Q5_K", 13, 256, 176, "q5_k"),
    ("Q6_K", 14, 256, 210, "q6_k"),
    ("Q8_K", 15, 256, 292, None),
    ("IQ2_XXS", 16, 256, 66, None),
    ("IQ2_XS", 17, 256, 74, None),
    ("IQ3_XXS", 18, 256, 98, None),
    ("IQ1_S", 19, 256, 50, None),
    ("IQ4_NL", 20, 32, 18, "iq4_nl"),
    ("IQ3_S", 21, 256, 110, None),
    ("IQ2_S", 22, 256, 82, None),
    ("IQ4_XS", 23, 256, 136, "iq4_xs"),
    ("I8", 24, 1, 1, None),
    ("I16", 25, 1, 2, None),
    ("I32", 26, 1, 4, None),
    ("I64", 27, 1, 8, None),
    ("F64", 28, 1, 8, None),
    ("IQ1_M", 29, 256, 56, None),
    ("BF16", 30, 1, 2, "bf16"),
    ("TQ1_0", 34, 256, 54, None),
    ("TQ2_0", 35, 256, 66, None),
    ("MXFP4", 39, 32, 17, "mxfp4"),
    ("NVFP4", 40, 64, 36, None),
    ("Q1_0", 41, 128, 18, None),
)

TENSOR_TYPES: tuple[TensorType, ...] = tuple(
    TensorType(*row, piece="row" if row[2] == 1 else "block") for row in _TABLE
)
BY_CODE: dict[int, TensorType] = {kind.code: kind for kind in TENSOR_TYPES}
BY_NAME: dict[str, TensorType] = {kind.name: kind for kind in TENSOR_TYPES}
SUPPORTED_FORMATS: tuple[str, ...] = tuple(kind.name for kind in TENSOR_TYPES if kind.format)
QUANTIZED = {8: "q8_0", 4: "q4_0"}  # what floats can become while they are loaded, by bits
BY_FORMAT: dict[str, TensorType] = {kind.format: kind for kind in TENSOR_TYPES if kind.format}


@dataclass(frozen=True)
class Pair:
    """An MLC quantization: the types of its q_weight and q_scale. short_scale: f32 scales that are stored as bf16."""

    weight: TensorType
    scale: TensorType
    short_scale: TensorType


def _pair(name: str, format: str, block: int, scale: int, piece: Literal["block", "row", "group"], raw: str) -> Pair:
    return Pair(
        TensorType(name, -1, block, 16, format, piece, raw),
        TensorType(f"{name} scales", -1, block, scale, format, piece, f"{name}_scale"),
        TensorType(f"{name} scales (bf16)", -1, block, 2, format, piece, f"{name}_scale_bf16"),
    )


MLC_TYPES: dict[str, Pair] = {
    "q4f16_1": _pair("q4f16_1", "q4f16_1", 32, 2, "block", "q4f16_1"),
    "q4f32_1": _pair("q4f32_1", "q4f32_1", 32, 4, "block", "q4f16_1"),
    "q4f16_0": _pair("q4f16_0", "q4f16_1", 32, 2, "group", "q4f16_0"),
    "q3f16_1": _pair("q3f16_1", "q3f16_1", 40, 2, "row", "q3f16_1"),
}


def require_format(kind: TensorType, tensor: str) -> str:
    """The GPU format of `kind`; UnsupportedModel, which names `tensor`, where there is none."""
    if kind.format is None:
        raise UnsupportedModel(
            f"Tensor '{tensor}' is stored as {kind.name}, which is not supported yet.",
            remedy=f"Use a file quantized to one of: {', '.join(SUPPORTED_FORMATS)}.",
        )
    return kind.format
