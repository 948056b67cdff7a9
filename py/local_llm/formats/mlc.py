"""An MLC weight folder: mlc-chat-config.json, tensor-cache.json (older: ndarray-cache.json), params_shard_N.bin.

Knows how quantized matrices lie in two tensors, q_weight and q_scale; the compiled library beside them is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint, Tensor
from local_llm.formats.cursor import shown
from local_llm.formats.files import Folder, JoinedBlobs, LateBlobs
from local_llm.formats.huggingface import Texts, read_texts, settings_of, stop_ids_of
from local_llm.formats.json_file import Entry, read_object
from local_llm.formats.quant import BY_NAME, MLC_TYPES, Pair, TensorType
from local_llm.formats.translation import tensor_names
from local_llm.gpu.ports import Blobs

CONFIG = "mlc-chat-config.json"
CACHES = ("tensor-cache.json", "ndarray-cache.json")
PLAIN = ("q0f16", "q0f32")
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint32": 4, "int32": 4, "uint16": 2, "int8": 1, "uint8": 1}
_FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Stored:
    """A tensor as the cache lists it. dtype: of what lies in the file (bfloat16 for `f32-to-bf16`)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int


async def read_mlc(folder: Folder) -> tuple[Checkpoint, Blobs, Texts]:
    """Raises CorruptModel, UnsupportedModel, DownloadFailed; all name the file."""
    config = await read_object(await folder.open(CONFIG))
    name = str(config.get("quantization"))
    if name not in MLC_TYPES and name not in PLAIN:
        raise UnsupportedModel(
            f"{folder.name} is quantized as {shown(name)}.",
            remedy=f"Supported: {', '.join([*MLC_TYPES, *PLAIN])}.",
        )
    cache = await folder.find(*CACHES)
    if cache is None:
        raise CorruptModel(f"{folder.name} has {CONFIG} but neither {CACHES[0]} nor {CACHES[1]}.")
    stored, blobs = _read_cache(folder, cache.name, await read_object(cache))
    inner = config.get("model_config")
    inner = inner if isinstance(inner, Mapping) else {}
    values = settings_of(folder.name, {**inner, "model_type": config.get("model_type", "")})
    tensors = _matrices(folder.name, stored, MLC_TYPES.get(name), values)
    checkpoint = Checkpoint(folder.name, values, tensors, blobs.size, converted=False)
    return checkpoint, blobs, await read_texts(folder, stop_ids_of(config), config.get("conv_template"))


def _read_cache(folder: Folder, name: str, cache: Mapping[str, Any]) -> tuple[dict[str, Stored], Blobs]:
    """The directory of all shards, which are opened when they are needed."""
    shards = Entry(name, "the file", cache).entries("records")
    files = [LateBlobs(folder, shard.file("dataPath"), shard.count("nbytes")) for shard in shards]
    for file in files:
        if folder.names is not None and file.name not in folder.names:
            raise CorruptModel(
                f"{folder.name}: the shard {file.name} is missing.", remedy="Give all files of the model."
            )
    blobs = JoinedBlobs(folder.name, files)
    found: dict[str, Stored] = {}
    for shard, file, base in zip(shards, files, blobs.starts, strict=True):
        own = [_stored(entry, file, base) for entry in shard.entries("records")]
        for before, after in pairwise(sorted(own, key=lambda tensor: tensor.start)):
            if after.start < before.stop:
                raise CorruptModel(
                    f"{name}: tensors {shown(before.name)} and {shown(after.name)} overlap in {file.name}."
                )
        for tensor in own:
            if tensor.name in found:
                raise CorruptModel(f"{name}: tensor {shown(tensor.name)} is listed twice.")
            found[tensor.name] = tensor
    return found, blobs


def _stored(entry: Entry, file: Blobs, base: int) -> Stored:
    name = entry.text("name")
    entry = Entry(entry.name, f"tensor {shown(name)}", entry.values)
    dtype, shape = entry.text("dtype"), entry.counts("shape", 4)
    if dtype not in _BYTES:
        raise entry.wrong("dtype", f"one of {', '.join(_BYTES)}")
    if dtype == "float32" and entry.values.get("format") == "f32-to-bf16":
        dtype = "bfloat16"
    start, nbytes = entry.count("byteOffset"), entry.count("nbytes")
    if nbytes != math.prod(shape) * _BYTES[dtype]:
        raise entry.wrong("nbytes", f"{math.prod(shape) * _BYTES[dtype]} for {dtype} {list(shape)}")
    if start + nbytes > file.size:
        raise entry.wrong("byteOffset", f"at most {file.size - nbytes}: {file.name} has {file.size} bytes")
    return Stored(name, shape, dtype, base + start, base + start + nbytes)


def _matrices(
    folder: str, stored: Mapping[str, Stored], pair: Pair | None, values: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The model's tensors by our names; each quantized matrix is one, with its scales."""
    theirs = {
        f"{name.removesuffix('.q_weight')}.weight" if name.endswith(".q_weight") else name: tensor
        for name, tensor in stored.items()
        if not name.endswith(".q_scale")
    }
    found: dict[str, Tensor] = {}
    for name, ours in tensor_names(theirs).items():
        tensor = theirs[name]
        if ours in found:
            raise CorruptModel(f"{folder}: tensor {shown(name)} is there a second time, as {shown(ours)}.")
        if tensor.name == name:
            kind = BY_NAME[_FLOATS.get(tensor.dtype, "I32")]
            found[ours] = Tensor(ours, tensor.shape or (1,), kind, tensor.start, tensor.stop)
        else:
            scale = stored.get(f"{tensor.name.removesuffix('.q_weight')}.q_scale")
            if pair is None or scale is None:
                raise CorruptModel(f"{folder}: tensor {shown(tensor.name)} has no scales (q_scale).")
            found[ours] = _quantized(folder, ours, tensor, scale, pair, _width(folder, ours, values))
    return found


def _quantized(folder: str, ours: str, weight: Stored, scale: Stored, pair: Pair, cols: int) -> Tensor:
    """A matrix of rows of `cols` weights; how it lies is told by the shapes, since not all of a folder lie alike."""
    groups = -(-cols // pair.weight.block)
    if pair.weight.piece == "group" and weight.shape[1:] == (4 * groups,) and scale.shape[1:] == (groups,):
        pair = MLC_TYPES["q4f16_1"]  # embeddings of q4f16_0
    lines = slice(None, None, -1) if pair.weight.piece == "group" else slice(None)
    rows = (*weight.shape[lines], 0)[0]
    if weight.shape[lines] != (rows, 4 * groups) or scale.shape[lines] != (rows, groups) or weight.dtype != "uint32":
        raise CorruptModel(
            f"{folder}: tensor {shown(weight.name)} has {weight.dtype} {list(weight.shape)} and scales "
            f"{list(scale.shape)}; {pair.weight.name} rows of {cols} weights have {4 * groups} and {groups}."
        )
    shape = (rows, cols)
    scales = Tensor(f"{ours}, its scales", shape, _scale_type(folder, scale, pair), scale.start, scale.stop)
    return Tensor(ours, shape, pair.weight, weight.start, weight.stop, scales)


def _scale_type(folder: str, scale: Stored, pair: Pair) -> TensorType:
    kind = {("float16", 2): pair.scale, ("float32", 4): pair.scale, ("bfloat16", 4): pair.short_scale}.get(
        (scale.dtype, pair.scale.nbytes)
    )
    if kind is None:
        raise CorruptModel(
            f"{folder}: tensor {shown(scale.name)} has type {scale.dtype}, which {pair.weight.name} has not."
        )
    return kind


def _width(folder: str, ours: str, values: Mapping[str, Any]) -> int:
    """Inputs of a matrix; its tensors tell them only up to a group."""
    kind = values["general.architecture"]
    keys = ["embedding_length"]
    if ".ffn_down." in ours:
        keys = ["feed_forward_length"]
    elif ".attn_output." in ours:
        keys = ["attention.head_count", "attention.key_length"]
    width = 1
    for key in keys:
        number = values.get(f"{kind}.{key}")
        if type(number) is not int or not 0 < number <= 1 << 24:
            raise CorruptModel(f"{folder}: expected {CONFIG} to say {key}, found {shown(number)}.")
        width *= number
    return width
