"""Writes GGUF files for tests, sound ones and broken ones. Never shipped; shares no code with formats/gguf.py."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Typed:
    """A metadata value with its GGUF type number, where the one that `kind_of` picks is not wanted."""

    kind: int
    value: Any
    element: int | None = None  # of an array


@dataclass(frozen=True)
class Stored:
    """A tensor as it goes into the file. shape: rows first."""

    shape: tuple[int, ...]
    kind: str  # "Q4_1"
    data: bytes


def store(values: np.ndarray, kind: str) -> Stored:
    """float32 values, quantized as `kind`."""
    code = gguf.GGMLQuantizationType[kind]
    return Stored(values.shape, kind, np.ascontiguousarray(gguf.quants.quantize(values, code)).tobytes())


def restore(tensor: Stored) -> np.ndarray:
    """The float32 values that a reader of the file gets."""
    code = gguf.GGMLQuantizationType[tensor.kind]
    block, size = gguf.GGML_QUANT_SIZES[code]
    if tensor.kind in ("F32", "F16"):
        raw = np.frombuffer(tensor.data, {"F32": "<f4", "F16": "<f2"}[tensor.kind])
    else:
        raw = np.frombuffer(tensor.data, np.uint8).reshape(-1, tensor.shape[-1] // block * size)
    return gguf.quants.dequantize(raw, code).astype(np.float32).reshape(tensor.shape)


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Stored], **options: Any) -> Path:
    """Write a file; options as in encode_gguf."""
    path.write_bytes(encode_gguf(metadata, tensors, **options))
    return path


def encode_gguf(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Stored],
    *,
    version: int = 3,
    alignment: int = 32,
    offsets: Mapping[str, int] | None = None,
    dims: Mapping[str, Sequence[int]] | None = None,
    codes: Mapping[str, int] | None = None,
) -> bytes:
    """A GGUF file's bytes. offsets, dims (ggml's order) and codes replace what a sound file would say."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += string(key) + _entry(value)
    data = b""
    for name, tensor in tensors.items():
        shape = (dims or {}).get(name, tensor.shape[::-1])
        code = (codes or {}).get(name, int(gguf.GGMLQuantizationType[tensor.kind]))
        offset = (offsets or {}).get(name, len(data))
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, code, offset)
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return head + (bytes(-len(head) % alignment) + data if tensors else b"")


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def kind_of(value: Any) -> int:
    """bool, u32 (i32, u64 where needed), f32, string or array."""
    if isinstance(value, bool):
        return 7
    if isinstance(value, int):
        return 5 if value < 0 else 4 if value < 1 << 32 else 10
    return {float: 6, str: 8, bytes: 8, list: 9, tuple: 9}[type(value)]


def _entry(value: Any) -> bytes:
    typed = value if isinstance(value, Typed) else Typed(kind_of(value), value)
    return struct.pack("<I", typed.kind) + _value(typed)


def _value(typed: Typed) -> bytes:
    if typed.kind == 8:
        return string(typed.value)
    if typed.kind != 9:
        return struct.pack(f"<{_SCALARS[typed.kind]}", typed.value)
    element = typed.element
    if element is None:
        element = 5 if isinstance(typed.value[0], int) else kind_of(typed.value[0])
    items = (_value(Typed(element, item)) for item in typed.value)
    return struct.pack("<IQ", element, len(typed.value)) + b"".join(items)


def split_gguf(path: Path, folder: Path, count: int, *, total: int | None = None, repeat: str = "") -> list[Path]:
    """The file cut into `count` parts as gguf-split does: metadata in the first, tensors in order.

    total: what split.tensors.count says; repeat: a tensor that the last part holds too.
    """
    reader = gguf.GGUFReader(path)
    names = [tensor.name for tensor in reader.tensors]
    stored = {
        t.name: Stored(tuple(int(n) for n in reversed(t.shape)), t.tensor_type.name, t.data.tobytes())
        for t in reader.tensors
    }
    metadata = {field.name: field.contents() for field in reader.fields.values() if not field.name.startswith("GGUF.")}
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        own = names[number * len(names) // count : (number + 1) * len(names) // count]
        own += [repeat] if repeat and number == count - 1 and repeat not in own else []
        own = own if not (repeat and number == 0) else [*own, repeat]
        split = {
            "split.no": Typed(2, number),
            "split.count": Typed(2, count),
            "split.tensors.count": Typed(5, len(names) + (repeat != "") if total is None else total),
        }
        part = folder / f"{path.stem}-{number + 1:05}-of-{count:05}.gguf"
        paths.append(write_gguf(part, split | (metadata if number == 0 else {}), {name: stored[name] for name in own}))
    return paths
