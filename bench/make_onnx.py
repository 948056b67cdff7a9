"""Writes a model of a GGUF file as the ONNX folder that transformers.js wants, for `build.py bench --suite peers`.

    python -m bench.make_onnx MODEL.gguf --dtype q4 --out FOLDER

The graph is what ONNX Runtime's builder makes of Llama: GroupQueryAttention with RoPE inside, MatMulNBits, skip norms,
logits of the last token only. Matrices get 4 bits in blocks of 32, symmetric, as q4_0, which keeps its values.
Needs numpy and gguf, nothing of local_llm, and not ONNX's package of 20 MB: it writes protocol buffers itself.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import gguf
import numpy as np

BLOCK = 32
ACCURACY = 4  # activations may be rounded to 8 bits for the products, as llama.cpp does: the faster way everywhere
FLOAT, UINT8, INT32, INT64, HALF = 1, 2, 6, 7, 10  # ONNX's codes of types
_TYPES = {"float32": FLOAT, "uint8": UINT8, "int32": INT32, "int64": INT64, "float16": HALF}
_MICROSOFT = "com.microsoft"
_ALIGNMENT = 4096

# Protocol buffers


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _bytes(5, _bytes(1, name) + _int(3, value) + _int(20, 2))
    return _bytes(5, _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _int(20, 1))


def _shaped(number: int, name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(_bytes(1, _int(1, dim) if isinstance(dim, int) else _bytes(2, dim)) for dim in shape)
    tensor = _int(1, kind) + _bytes(2, dims)
    return _bytes(number, _bytes(1, name) + _bytes(2, _bytes(1, tensor)))


@dataclass
class Graph:
    """Nodes, values and weights as they are added; the weights' bytes go to `data` at once."""

    data: IO[bytes]
    file: str  # what `data` is called in the folder
    half: bool
    parts: list[bytes] = field(default_factory=list)
    nodes: int = 0

    @property
    def float_type(self) -> int:
        return HALF if self.half else FLOAT

    def value(self, number: int, name: str, kind: int, shape: tuple[int | str, ...]) -> None:
        """number: 11 for an input of the graph, 12 for an output."""
        self.parts.append(_shaped(number, name, kind, shape))

    def node(
        self, op: str, inputs: list[str], outputs: int | list[str] = 1, domain: str = "", **attributes: Any
    ) -> str:
        """Returns its first output's name."""
        self.nodes += 1
        names = outputs if isinstance(outputs, list) else [f"{op}_{self.nodes}_{n}" for n in range(outputs)]
        text = b"".join(_bytes(1, name) for name in inputs) + b"".join(_bytes(2, name) for name in names)
        text += _bytes(3, f"{op}_{self.nodes}") + _bytes(4, op)
        text += b"".join(_attribute(name, value) for name, value in attributes.items()) + _bytes(7, domain)
        self.parts.append(_bytes(1, text))
        return names[0]

    def small(self, name: str, values: np.ndarray) -> str:
        dims = b"".join(_int(1, dim) for dim in values.shape)
        text = dims + _int(2, _TYPES[values.dtype.name]) + _bytes(8, name) + _bytes(9, values.tobytes())
        self.parts.append(_bytes(5, text))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        """Floats are written in the model's float type."""
        if values.dtype.kind == "f":
            values = values.astype(np.float16 if self.half else np.float32)
        self.data.write(bytes(-self.data.tell() % _ALIGNMENT))
        place = {"location": self.file, "offset": self.data.tell(), "length": values.nbytes}
        self.data.write(np.ascontiguousarray(values).tobytes())
        dims = b"".join(_int(1, dim) for dim in values.shape)
        text = dims + _int(2, _TYPES[values.dtype.name]) + _bytes(8, name)
        text += b"".join(_bytes(13, _bytes(1, key) + _bytes(2, str(value))) for key, value in place.items()) + _int(
            14, 1
        )
        self.parts.append(_bytes(5, text))
        return name

    def model(self) -> bytes:
        """ModelProto."""
        graph = b"".join(self.parts) + _bytes(2, "model")
        opsets = _bytes(8, _bytes(1, "") + _int(2, 21)) + _bytes(8, _bytes(1, _MICROSOFT) + _int(2, 1))
        return _int(1, 10) + _bytes(2, "make_onnx") + opsets + _bytes(7, graph)


# The model


def q4(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f32 [N, K] → u8 [N, K/32, 16], weight 2j in byte j's low nibble, and f32 scales [N, K/32]; zero is 8."""
    rows, cols = weights.shape
    blocks = weights.reshape(rows, cols // BLOCK, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)[..., 0]
    scales = largest / -8
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    return _nibbles(np.clip(np.rint(blocks * inverse[..., None]) + 8, 0, 15).astype(np.uint8)), scales


def same(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of q4_0's bytes [N, K/32 * 18], without a change of value: weights j and 16 + j share a byte there."""
    blocks = raw.reshape(len(raw), -1, 18)
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2")[..., 0].astype(np.float32)
    return _nibbles(np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], -1)), scales


def _nibbles(codes: np.ndarray) -> np.ndarray:
    return codes[..., ::2] | codes[..., 1::2] << 4


class Reader:
    """A GGUF file of architecture llama, by Hugging Face's conventions."""

    def __init__(self, path: Path) -> None:
        self._reader = gguf.GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        if self.field("general.architecture") != "llama":
            raise SystemExit(f"{path.name} is {self.field('general.architecture')}; make_onnx knows llama only.")
        self.layers, self.width = self.field("llama.block_count"), self.field("llama.embedding_length")
        self.heads = self.field("llama.attention.head_count")
        self.kv_heads = self.field("llama.attention.head_count_kv", self.heads)
        self.head_width = self.field("llama.attention.key_length", self.width // self.heads)
        self.ffn = self.field("llama.feed_forward_length")
        self.context = self.field("llama.context_length")
        self.epsilon = float(self.field("llama.attention.layer_norm_rms_epsilon"))
        self.base = float(self.field("llama.rope.freq_base", 10000.0))
        self.tied = "output.weight" not in self._tensors
        self.vocab = len(self._tensors["token_embd.weight"].data)

    def field(self, name: str, fallback: Any = None) -> Any:
        found = self._reader.get_field(name)
        return fallback if found is None else found.contents()

    def rows(self, name: str, step: int = 8192) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`q4` of a matrix, some rows at a time: an embedding of 128,256 rows takes 1 GB as floats."""
        tensor = self._tensors[name]
        for start in range(0, len(tensor.data), step):
            data = tensor.data[start : start + step]
            if tensor.tensor_type == gguf.GGMLQuantizationType.Q4_0:
                yield same(data)
            else:
                yield q4(gguf.dequantize(data, tensor.tensor_type).astype(np.float32))

    def floats(self, name: str, kind: type[np.floating] = np.float32) -> np.ndarray:
        tensor = self._tensors[name]
        parts = np.array_split(tensor.data, max(1, len(tensor.data) // 8192))
        return np.concatenate([gguf.dequantize(part, tensor.tensor_type).astype(kind) for part in parts])

    def packed(self, name: str, heads: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """q4 of a matrix; heads: of q or k, whose rows GGUF keeps interleaved for the other kind of RoPE."""
        codes, scales = (np.concatenate(parts) for parts in zip(*self.rows(name), strict=True))
        if heads:
            order = np.arange(len(codes)).reshape(heads, -1, 2).swapaxes(1, 2).ravel()
            codes, scales = codes[order], scales[order]
        return codes, scales


def build(graph: Graph, model: Reader) -> None:
    """Add the whole model to the graph."""
    kind, cache = graph.float_type, (model.kv_heads, model.head_width)
    graph.value(11, "input_ids", INT64, ("batch", "sequence"))
    graph.value(11, "attention_mask", INT64, ("batch", "total"))
    graph.value(11, "num_logits_to_keep", INT64, ())
    for layer in range(model.layers):
        for each in ("key", "value"):
            graph.value(11, f"past_key_values.{layer}.{each}", kind, ("batch_size", cache[0], "past", cache[1]))
    x = _embed(graph, model)
    shared = [*_lengths(graph), *_rotations(graph, model)]
    skip = ""
    for layer in range(model.layers):
        x, skip = _layer(graph, model, layer, x, skip, shared)
    x, _ = _norm(graph, model, "output_norm.weight", x, skip)
    _head(graph, model, x)
    graph.value(12, "logits", kind, ("batch", "kept", model.vocab))
    for layer in range(model.layers):
        for each in ("key", "value"):
            graph.value(12, f"present.{layer}.{each}", kind, ("batch_size", cache[0], "total", cache[1]))


def _embed(graph: Graph, model: Reader) -> str:
    """Floats, as transformers.js's models have it: ONNX Runtime's Wasm looks up no rows of 4 bits."""
    table = graph.weight("embedding", model.floats("token_embd.weight", np.float16 if graph.half else np.float32))
    return graph.node("Gather", [table, "input_ids"], axis=0)


def _lengths(graph: Graph) -> list[str]:
    """Of the cache as attention wants them: positions − 1 of each row of the batch, and in all."""
    axis, one = graph.small("axis", np.array([1])), graph.small("one", np.array([1]))
    total = graph.node("ReduceSum", ["attention_mask", axis], keepdims=0)
    before = graph.node("Cast", [graph.node("Sub", [total, one])], to=INT32)
    shape = graph.node("Shape", ["attention_mask"])
    index = graph.small("index", np.array(1))
    return [before, graph.node("Cast", [graph.node("Gather", [shape, index], axis=0)], to=INT32)]


def _rotations(graph: Graph, model: Reader) -> list[str]:
    half = model.head_width // 2
    angles = np.arange(model.context)[:, None] * model.base ** (-np.arange(half) / half)
    return [graph.weight("cos", np.cos(angles)), graph.weight("sin", np.sin(angles))]


def _norm(graph: Graph, model: Reader, name: str, x: str, skip: str) -> tuple[str, str]:
    """The norm of x + skip, and x + skip."""
    weight = graph.weight(name, model.floats(name))
    if not skip:
        return graph.node("SimplifiedLayerNormalization", [x, weight], axis=-1, epsilon=model.epsilon, stash_type=1), x
    outputs = [f"{name}_y", "", "", f"{name}_sum"]
    graph.node("SkipSimplifiedLayerNormalization", [x, skip, weight], outputs, _MICROSOFT, epsilon=model.epsilon)
    return outputs[0], outputs[3]


def _product(graph: Graph, model: Reader, name: str, x: str, heads: int = 0) -> str:
    codes, scales = model.packed(name, heads)
    inputs = [x, graph.weight(name, codes), graph.weight(f"{name}_scales", scales)]
    about = {"N": len(codes), "K": codes.shape[1] * BLOCK, "bits": 4, "block_size": BLOCK, "accuracy_level": ACCURACY}
    return graph.node("MatMulNBits", inputs, domain=_MICROSOFT, **about)


def _layer(graph: Graph, model: Reader, n: int, x: str, skip: str, shared: list[str]) -> tuple[str, str]:
    b, past = f"blk.{n}.", [f"past_key_values.{n}.{each}" for each in ("key", "value")]
    y, x = _norm(graph, model, b + "attn_norm.weight", x, skip)
    q = _product(graph, model, b + "attn_q.weight", y, model.heads)
    k = _product(graph, model, b + "attn_k.weight", y, model.kv_heads)
    v = _product(graph, model, b + "attn_v.weight", y)
    about = {"num_heads": model.heads, "kv_num_heads": model.kv_heads, "do_rotary": 1, "rotary_interleaved": 0}
    outputs = [f"attention_{n}", f"present.{n}.key", f"present.{n}.value"]
    scale = model.head_width**-0.5
    y = graph.node("GroupQueryAttention", [q, k, v, *past, *shared], outputs, _MICROSOFT, scale=scale, **about)
    y, x = _norm(graph, model, b + "ffn_norm.weight", x, _product(graph, model, b + "attn_output.weight", y))
    gate, up = (_product(graph, model, f"{b}ffn_{each}.weight", y) for each in ("gate", "up"))
    silu = graph.node("Mul", [gate, graph.node("Sigmoid", [gate])])
    return x, _product(graph, model, b + "ffn_down.weight", graph.node("Mul", [silu, up]))


def _head(graph: Graph, model: Reader, x: str) -> None:
    start = graph.node("Unsqueeze", [graph.node("Neg", ["num_logits_to_keep"]), graph.small("zero", np.array([0]))])
    last = graph.node("Slice", [x, start, graph.small("end", np.array([2**63 - 1])), "axis"])
    name = "token_embd.weight" if model.tied else "output.weight"
    graph.node("Identity", [_product(graph, model, name, last)], ["logits"])


def write(source: Path, folder: Path, dtype: str) -> Path:
    """config.json, onnx/model_DTYPE.onnx and its data under `folder`. dtype: "q4" or "q4f16". Returns the folder."""
    model = Reader(source)
    stem = f"model_{dtype}.onnx"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    with (folder / "onnx" / f"{stem}_data").open("wb") as data:
        graph = Graph(data, f"{stem}_data", dtype.endswith("f16"))
        build(graph, model)
    (folder / "onnx" / stem).write_bytes(graph.model())
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_width,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text("{}", encoding="utf-8")
    return folder


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("model", type=Path)
    p.add_argument("--dtype", choices=["q4", "q4f16"], default="q4")
    p.add_argument("--out", type=Path, required=True)
    args = p.parse_args()
    print(write(args.model, args.out, args.dtype))


if __name__ == "__main__":
    main()
