"""A Hugging Face folder: config.json, one or more safetensors files, the tokenizer's files.

Knows the names of its files; what tensors and settings mean is translation.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import MOST_TENSORS, Checkpoint, Tensor
from local_llm.formats.cursor import shown
from local_llm.formats.files import Folder, JoinedBlobs
from local_llm.formats.json_file import LIMIT, Entry, read_object, wrong
from local_llm.formats.safetensors import read_safetensors
from local_llm.formats.translation import metadata, pooling, tensor_names
from local_llm.gpu.ports import Blobs

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
POOLING = "1_Pooling/config.json"
_MOST_FILES = 1000
_MOST_TEMPLATE = 1 << 20  # bytes of a chat template; real ones stay under 30 KB


@dataclass(frozen=True)
class Texts:
    """What a folder says of its tokenizer: the arguments of text.folder.TokenizerFiles."""

    tokenizer: bytes
    config: Mapping[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    conversation: Mapping[str, Any] | None = None
    stop_ids: tuple[int, ...] = ()


async def read_huggingface(folder: Folder) -> tuple[Checkpoint, Blobs, Texts]:
    """Raises CorruptModel, UnsupportedModel, DownloadFailed; all name the file."""
    config = await read_object(await folder.open(CONFIG))
    index = await folder.find(INDEX)
    if index is not None:
        placed, blobs = await _read_shards(folder, index)
    else:
        single = await folder.open(await _single(folder))
        placed, blobs = await read_safetensors(single), single
    tensors = by_our_names(folder.name, placed)
    settings = settings_of(folder.name, config)
    if config.get("model_type") == "bert":
        settings |= pooling(await _optional_object(folder, POOLING))
    checkpoint = Checkpoint(folder.name, settings, tensors, blobs.size, converted=False)
    generation = await _optional_object(folder, "generation_config.json")
    return checkpoint, blobs, await read_texts(folder, stop_ids_of(config, generation))


async def _single(folder: Folder) -> str:
    found = [name for name in folder.names or () if name.endswith(".safetensors")]
    if folder.names is not None and SINGLE not in folder.names and len(found) != 1:
        raise UnsupportedModel(
            f"{folder.name} has {CONFIG} but neither {INDEX} nor {SINGLE}.",
            remedy="Give the folder of a model in safetensors format.",
        )
    return found[0] if len(found) == 1 else SINGLE


async def _read_shards(folder: Folder, index: Blobs) -> tuple[dict[str, Tensor], Blobs]:
    """The tensors that the index names, each from the file that it says."""
    places = Entry(index.name, "weight_map", (await read_object(index)).get("weight_map"))
    names = list(dict.fromkeys(places.file(tensor) for tensor in places.values))
    if not 1 <= len(names) <= _MOST_FILES:
        raise wrong(index.name, "weight_map", f"tensors in 1 to {_MOST_FILES} files", len(names))
    files = [await folder.open(name) for name in names]
    blobs = JoinedBlobs(folder.name, files)
    heads: dict[str, dict[str, Tensor]] = {}
    for name, file in zip(names, files, strict=True):
        heads[name] = await read_safetensors(file)
        if sum(map(len, heads.values())) > MOST_TENSORS:
            raise wrong(folder.name, "its files", f"{MOST_TENSORS} tensors at the most", f"more, up to {name}")
    bases = dict(zip(names, blobs.starts, strict=True))
    tensors: dict[str, Tensor] = {}
    for name, file in places.values.items():
        tensor = heads[file].get(name)
        if tensor is None:
            raise CorruptModel(f"{index.name}: expected tensor {shown(name)} in {file}, found that it is not there.")
        tensors[name] = replace(tensor, start=tensor.start + bases[file], stop=tensor.stop + bases[file])
    return tensors, blobs


def settings_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json as GGUF's metadata. Raises CorruptModel where its values are of no sensible kind."""
    try:
        return metadata(config)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise CorruptModel(
            f"{name}: the model's configuration makes no sense ({type(error).__name__}: {error!s:.100}).",
            remedy="Download it again, or use another copy.",
        ) from None


def by_our_names(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by GGUF's names; those that mean nothing to us are left out."""
    found: dict[str, Tensor] = {}
    for theirs, ours in tensor_names(tensors).items():
        if ours in found:
            raise CorruptModel(f"{name}: tensor {shown(theirs)} is there a second time, as {shown(ours)}.")
        found[ours] = replace(tensors[theirs], name=ours)
    return found


async def read_texts(folder: Folder, stop_ids: tuple[int, ...], conversation: Any = None) -> Texts:
    """The tokenizer's files of a folder."""
    tokenizer = await folder.find("tokenizer.json")
    if tokenizer is None:
        raise UnsupportedModel(
            f"{folder.name} has no tokenizer.json.", remedy="Convert the tokenizer, for example with transformers."
        )
    if tokenizer.size > LIMIT:
        raise CorruptModel(f"{tokenizer.name}: expected at most {LIMIT} bytes, found {tokenizer.size}.")
    template = await folder.find("chat_template.jinja")
    if template and template.size > _MOST_TEMPLATE:
        raise CorruptModel(f"{template.name}: expected at most {_MOST_TEMPLATE} bytes, found {template.size}.")
    return Texts(
        tokenizer=await tokenizer.read(0, tokenizer.size),
        config=await _optional_object(folder, "tokenizer_config.json"),
        chat_template=(await template.read(0, template.size)).decode("utf-8", "replace") if template else None,
        conversation=conversation if isinstance(conversation, Mapping) else None,
        stop_ids=stop_ids,
    )


async def _optional_object(folder: Folder, file: str) -> dict[str, Any]:
    found = await folder.find(file)
    return await read_object(found) if found else {}


def stop_ids_of(*configs: Mapping[str, Any]) -> tuple[int, ...]:
    """eos_token_id of each: a number, or a list of numbers."""
    found: list[int] = []
    for config in configs:
        value = config.get("eos_token_id")
        found += [token for token in (value if isinstance(value, list) else [value]) if type(token) is int]
    return tuple(dict.fromkeys(found))
