"""From what a person gives (a URL, a path, files, a folder) to a checkpoint and its bytes: which format it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from local_llm.errors import UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.formats.files import Folder, OpenBlobs, base_name, folder_of_list, folder_of_place
from local_llm.formats.gguf_split import part_names, read_parts
from local_llm.gpu.ports import Blobs


async def open_checkpoint(source: Any, open_blobs: OpenBlobs) -> tuple[Checkpoint, Blobs]:
    """The model that `source` holds, and the blobs that its tensors' bytes are addresses of.

    source: what open_blobs takes, a list of such (the files of one model), or a folder: a directory's path, or an
    address that ends in `/`. One part of a split GGUF stands for all. Raises CorruptModel, UnsupportedModel,
    DownloadFailed; all name the file.
    """
    if isinstance(source, Sequence) and not isinstance(source, str | bytes | bytearray | memoryview):
        return await _open_folder(await folder_of_list(source, open_blobs))
    if isinstance(source, str | os.PathLike):
        place = os.fspath(source)
        folder = folder_of_place(place, open_blobs)
        if folder.names is not None or place.endswith("/"):
            return await _open_folder(folder)
        parts = part_names(base_name(place))
        if len(parts) > 1:
            return await read_parts([await folder.open(part) for part in parts])
    return await read_parts([await open_blobs(source)])


async def _open_folder(folder: Folder) -> tuple[Checkpoint, Blobs]:
    ggufs = sorted(name for name in folder.names or () if name.lower().endswith(".gguf"))
    if ggufs:
        several = [name for name in ggufs if name not in part_names(ggufs[0])]
        if several:
            raise UnsupportedModel(
                f"{folder.name} holds several models: {ggufs[0]}, {several[0]}.", remedy="Give one of these files."
            )
        return await read_parts([await folder.open(name) for name in ggufs])
    raise UnsupportedModel(f"{folder.name} holds no model that is supported.", remedy="Give a GGUF file.")
