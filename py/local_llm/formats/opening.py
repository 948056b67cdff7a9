"""From what a person gives (a URL, a path, files, a folder) to a checkpoint and its bytes: which format it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from local_llm.errors import InvalidRequest, UnsupportedModel
from local_llm.formats import huggingface, mlc
from local_llm.formats.checkpoint import Checkpoint, Tensor
from local_llm.formats.files import Folder, OpenBlobs, base_name, folder_of_files, folder_of_place, opener_of_objects
from local_llm.formats.gguf_split import is_gguf, part_names, read_parts
from local_llm.formats.huggingface import Texts
from local_llm.formats.quant import BY_NAME, QUANTIZED
from local_llm.gpu.ports import Blobs

_BLOCK = 32  # weights, of both types
_AT_THE_ENDS = ("token_embd.weight", "output.weight")
_OF_FOLDERS = (huggingface.CONFIG, huggingface.INDEX, mlc.CONFIG, *mlc.CACHES)


_HUB = "https://huggingface.co"
_REPOSITORY = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?::([\w][\w./-]*))?")
_FILES = (".gguf", ".safetensors", ".json", ".bin")


@dataclass(frozen=True)
class Opened:
    """A model before it is loaded. blobs: what the tensors' bytes are addresses of.

    texts: the tokenizer's files; None where the checkpoint's metadata holds the tokenizer, as a GGUF's does.
    """

    checkpoint: Checkpoint
    blobs: Blobs
    texts: Texts | None = None


async def open_checkpoint(source: Any, open_blobs: OpenBlobs, quantize: int | None = None) -> Opened:
    """The model that `source` holds. quantize: bits (8 or 4) that matrices of floats get while they are loaded.

    source: what open_blobs takes or an object with read(start, stop) and size, a list of such (the files of one model),
    or a folder: a directory's path, an address that ends in `/`, or that of a file in it (config.json,
    model.safetensors, mlc-chat-config.json, …), or `owner/repo` or `owner/repo:file` at Hugging Face. One part of a
    split GGUF stands for all. Raises InvalidRequest, and CorruptModel, UnsupportedModel or DownloadFailed, which name
    the file.
    """
    check_bits(quantize)
    opened = await _open(source, opener_of_objects(open_blobs))
    if quantize is None:
        return opened
    return replace(opened, checkpoint=quantized(opened.checkpoint, quantize))


def check_bits(quantize: Any) -> None:
    """Raises InvalidRequest where weights cannot be quantized to so many."""
    if quantize is not None and (type(quantize) is not int or quantize not in QUANTIZED):
        raise InvalidRequest(f"quantize must be 8 or 4 (bits) or None, found {quantize!r:.60}.")


def quantized(checkpoint: Checkpoint, bits: int) -> Checkpoint:
    """The same, but matrices of floats get `bits` a weight on the GPU, embeddings and the output matrix 8.

    Matrices whose rows are no whole blocks stay as they are.
    """
    kinds = [BY_NAME[name] for name in ("F32", "F16", "BF16")]
    in_layers = {kind: replace(kind, format=QUANTIZED[bits]) for kind in kinds}
    outside = {kind: replace(kind, format=QUANTIZED[8]) for kind in kinds}

    def one(tensor: Tensor) -> Tensor:
        chosen = in_layers if tensor.name.startswith("blk.") else outside
        whole = len(tensor.shape) == 2 and tensor.shape[1] % _BLOCK == 0  # not so a convolution's taps
        matrix = whole and (chosen is in_layers or tensor.name in _AT_THE_ENDS)
        return replace(tensor, type=chosen[tensor.type]) if matrix and tensor.type in chosen else tensor

    return replace(checkpoint, tensors={name: one(tensor) for name, tensor in checkpoint.tensors.items()})


def address_of(place: str) -> str:
    """The address at Hugging Face that `owner/repo` or `owner/repo:file` means; other places as they are."""
    match = _REPOSITORY.fullmatch(place)
    if match is None or (not match[2] and match[1].lower().endswith(_FILES)) or os.path.exists(place):
        return place
    return f"{_HUB}/{match[1]}/resolve/main/{match[2] or ''}"


async def _open(source: Any, open_blobs: OpenBlobs) -> Opened:
    if isinstance(source, list | tuple):
        files = [await open_blobs(each) for each in source]
        if files and all([await is_gguf(file) for file in files]):
            return Opened(*await read_parts(files))
        return await _open_folder(folder_of_files(files))
    if isinstance(source, str | os.PathLike):
        place = source = address_of(os.fspath(source))
        folder = folder_of_place(place, open_blobs)
        file = base_name(place)
        if folder.names is not None or place.endswith("/") or file in _OF_FOLDERS or file.endswith(".safetensors"):
            return await _open_folder(folder)
        parts = part_names(file)
        if len(parts) > 1:
            return Opened(*await read_parts([await folder.open(part) for part in parts]))
    return Opened(*await read_parts([await open_blobs(source)]))


async def _open_folder(folder: Folder) -> Opened:
    ggufs = sorted(name for name in folder.names or () if name.lower().endswith(".gguf"))
    if ggufs:
        several = [name for name in ggufs if name not in part_names(ggufs[0])]
        if several:
            raise UnsupportedModel(
                f"{folder.name} holds several models: {ggufs[0]}, {several[0]}.", remedy="Give one of these files."
            )
        return Opened(*await read_parts([await folder.open(name) for name in ggufs]))
    if await folder.find(mlc.CONFIG):
        return Opened(*await mlc.read_mlc(folder))
    if await folder.find(huggingface.CONFIG):
        return Opened(*await huggingface.read_huggingface(folder))
    raise UnsupportedModel(
        f"{folder.name} holds no model: no GGUF file, no {mlc.CONFIG}, no {huggingface.CONFIG}.",
        remedy="Give a GGUF file (owner/repo:file.gguf), or all files of an MLC or Hugging Face folder.",
    )
