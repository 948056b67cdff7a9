"""Readers of untrusted bytes, each as a function of the bytes alone, and a sound file for each: see test_guided.py."""

from __future__ import annotations

from pathlib import Path

from local_llm.formats.gguf import read_gguf
from local_llm.formats.opening import open_checkpoint
from local_llm.models.families import family_of
from local_llm.models.weights import check
from local_llm.native.blobs import open_blobs
from local_llm.text.chat_template import render
from local_llm.text.definition import tokenizer_json
from local_llm.text.folder import TokenizerFiles, read_folder
from tests.conftest import wait
from tests.model.tiny import CHATML, write_tiny_gguf
from tests.unit.fuzzing import CONSTANT, bounded

HELLO = [{"role": "user", "content": "Hello"}]


def gguf(data: bytes) -> None:
    async def read() -> None:
        opened = await open_checkpoint(data, open_blobs)
        checkpoint = opened.checkpoint
        family = family_of(checkpoint.name, checkpoint.metadata.get("general.architecture"))
        check(checkpoint, family.stacks(checkpoint, family.read_config(checkpoint)))

    wait(read())


def vocabulary(data: bytes) -> None:
    async def read() -> None:
        head = await read_gguf(await open_blobs(data))
        tokenizer_json(head.metadata)

    wait(read())


def tokenizer(data: bytes) -> None:
    read_folder("folder", TokenizerFiles(data))


def template(data: bytes) -> None:
    render(data.decode("utf-8", "replace"), HELLO)


TARGETS = {one.__name__: one for one in (gguf, vocabulary, tokenizer, template)}


def sound(name: str, folder: Path) -> bytes:
    """A file that the target reads without an error."""
    tiny = write_tiny_gguf(folder / "tiny.gguf", 1, width=32, layers=1, ffn=32, types="Q8_0")
    if name == "template":
        return CHATML.encode()
    return tokenizer_json(tiny.metadata) if name == "tokenizer" else tiny.path.read_bytes()


def tried(name: str, data: bytes) -> None:
    """Reads it, in bounds. The library that watches what code is reached needs some memory of its own."""
    with bounded(6 * CONSTANT + len(data)):
        TARGETS[name](data)
