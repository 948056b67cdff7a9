"""What a model takes, told from its shapes before a byte is fetched: of the file, and of GPU memory at a context size.

The rules are those by which files are quantized (llama.cpp's mixtures, MLC's groups) and by which models/ allocates;
tests hold the outcome against real files and against the ledger of loaded models. Knows no GPU and no catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from local_llm.formats.quant import BY_NAME, MLC_TYPES
from local_llm.models.model import MAX_CHUNK
from local_llm.ops.attention import MOST_PARTS
from local_llm.ops.variants import LEAST_INT8_COLS
from local_llm.ops.weight import packed_bytes

_PLAIN = {"q0f16": "F16", "q0f32": "F32"}
_BASE = {"Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K", "Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K", "Q3_K_M": "Q3_K", "Q3_K_S": "Q3_K"}
_BETTER = {"Q4_K_M": "Q6_K", "Q5_K_M": "Q6_K", "Q3_K_M": "Q5_K", "Q4_K_S": "Q5_K"}
_FUSED = {"Q3_K_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}
_SIX_BIT_OUTPUT = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", *_BASE})
# llama.cpp's choice where the columns are no whole number of blocks of 256
_NARROW = {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


@dataclass(frozen=True)
class Shapes:
    """What decides a model's size. window: positions that a layer with a sliding window sees, 0 for none; every
    `global_every`-th layer has none even so. vectors: numbers in norms and biases. separate_output: the file holds a
    copy of a tied embedding as output. encoder: no gate, no cache, no logits. fused_qkv: q, k and v lie in one matrix.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    vocab: int
    tied: bool = True
    window: int = 0
    global_every: int = 0
    vectors: int = 0
    separate_output: bool = False
    encoder: bool = False
    fused_qkv: bool = False

    def matrices(self) -> Iterator[tuple[str, int, int, int]]:
        """(role, rows, cols, how many) of each kind."""
        yield "embedding", self.vocab, self.width, 1
        if not self.tied or self.separate_output:
            yield "output", self.vocab, self.width, 1
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        yield "q", queries, self.width, self.layers
        yield "k", keys, self.width, self.layers
        yield "v", keys, self.width, self.layers
        yield "o", self.width, queries, self.layers
        if not self.encoder:
            yield "gate", self.ffn_width, self.width, self.layers
        yield "up", self.ffn_width, self.width, self.layers
        yield "down", self.width, self.ffn_width, self.layers

    @property
    def parameters(self) -> int:
        """Weights in all; a tied embedding counts once."""
        copies = self.vocab * self.width if self.tied and self.separate_output else 0
        return self.vectors + sum(rows * cols * count for _, rows, cols, count in self.matrices()) - copies


def base_type(quantization: str) -> str:
    """The type of most matrices in a file of this quantization."""
    return _PLAIN.get(quantization) or _BASE.get(quantization, quantization)


def stored(shapes: Shapes, quantization: str) -> Iterator[tuple[str, int, int, int]]:
    """(type, rows, cols, how many) of the matrices in a file of this quantization, by GGUF's or MLC's names."""
    base = base_type(quantization)
    for role, rows, cols, count in shapes.matrices():
        kind, better = base, 0
        if base in MLC_TYPES or quantization in _PLAIN:
            yield base, rows, cols, count
            continue
        alone = role == "embedding" and shapes.tied and not shapes.separate_output and not shapes.encoder
        if role == "output" or alone:
            kind = "Q6_K" if quantization in _SIX_BIT_OUTPUT else base
        elif shapes.fused_qkv and role in ("q", "k", "v"):
            kind = _FUSED.get(quantization, base)
        elif role in ("v", "down") and quantization in _BETTER:
            better = sum(_has_more_bits(quantization, role, layer, count) for layer in range(count))
            yield _fitting(_BETTER[quantization], cols), rows, cols, better
        yield _fitting(kind, cols), rows, cols, count - better


def _fitting(kind: str, cols: int) -> str:
    return _NARROW.get(kind, kind) if cols % 256 else kind


def _has_more_bits(quantization: str, role: str, layer: int, layers: int) -> bool:
    """Whether a layer's v or down is stored better than the rest, as llama.cpp deals it out."""
    eighth = layers // 8
    if quantization == "Q4_K_S":
        return layer < (4 if role == "v" else eighth)
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def tensor_types(shapes: Shapes, quantization: str) -> tuple[str, ...]:
    """The types of all matrices, each once, sorted."""
    return tuple(sorted({kind for kind, _, _, count in stored(shapes, quantization) if count}))


def file_bytes(shapes: Shapes, quantization: str) -> int:
    """Bytes of the tensors in a file; its header has some megabytes more. Raises KeyError for an unknown type."""
    total = 4 * shapes.vectors
    for name, rows, cols, count in stored(shapes, quantization):
        if name in MLC_TYPES:
            pair = MLC_TYPES[name]
            total += count * rows * -(-cols // pair.weight.block) * (pair.weight.nbytes + pair.scale.nbytes)
        else:
            kind = BY_NAME[name]
            total += count * rows * -(-cols // kind.block) * kind.nbytes
    return total


def gpu_bytes(shapes: Shapes, quantization: str, context: int, chunk: int = MAX_CHUNK) -> int:
    """GPU bytes of the loaded model with a cache of `context` positions. Raises KeyError for an unknown type.

    chunk: most tokens in one prefill step; software adapters take fewer than GPUs.
    """
    weights = weight_bytes(shapes, quantization)
    return weights + cache_bytes(shapes, context, chunk) + working_bytes(shapes, context, chunk)


def weight_bytes(shapes: Shapes, quantization: str) -> int:
    """Matrices as they are packed on the GPU; norms and biases as f32."""
    total = 4 * shapes.vectors
    for name, rows, cols, count in stored(shapes, quantization):
        format = name if name in MLC_TYPES else BY_NAME[name].format
        total += count * packed_bytes(format or "", rows, cols)
    return total


def cache_bytes(shapes: Shapes, context: int, chunk: int = MAX_CHUNK) -> int:
    """Keys and values, f16. A layer with a window keeps that and one chunk."""
    if shapes.encoder:
        return 0
    positions = 0
    for layer in range(shapes.layers):
        near = shapes.window and not (shapes.global_every and (layer + 1) % shapes.global_every == 0)
        positions += min(context, shapes.window + chunk) if near else context
    return positions * 2 * 2 * shapes.kv_heads * shapes.head_width


def working_bytes(shapes: Shapes, context: int, chunk: int = MAX_CHUNK) -> int:
    """Activations of one chunk, the tables of rotations, logits and counts, f32; and inputs rounded to bytes."""
    chunk = min(chunk, context)
    queries, keys = shapes.heads * shapes.head_width, shapes.kv_heads * shapes.head_width
    floats = chunk * (2 * shapes.width + queries + 2 * keys + 3 * shapes.ffn_width) + shapes.width
    floats += max(chunk, 2 * MOST_PARTS) * queries
    floats += context * shapes.head_width * (2 if shapes.global_every else 1)
    widest = max(shapes.width, queries, shapes.ffn_width)
    rounded = chunk * widest * 3 // 2 if widest >= LEAST_INT8_COLS else 0
    return rounded + 4 * (floats + (0 if shapes.encoder else 2 * shapes.vocab))
