"""Models of several files at an address: which files they may lack, and that an error is not taken for a lack."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm.errors import DownloadFailed
from local_llm.formats.opening import open_checkpoint
from local_llm.native.cache import cached_opener
from local_llm.transfer import Patience
from tests.browser.faults import Faulty, FaultyServer
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import write_huggingface, write_mlc

OPTIONAL = {
    "huggingface": (
        "mlc-chat-config.json",
        "model.safetensors.index.json",
        "generation_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ),
    "mlc": ("tensor-cache.json", "tokenizer_config.json", "chat_template.jinja"),
}
QUICK = Patience(attempts=2, first_seconds=0.01)


class Memory:
    """A device of which only `write` is used."""

    def __init__(self):
        self.sizes = []

    def write(self, buffer, data, offset=0):
        self.sizes.append(len(data))


class Model:
    """A tiny model on a server that has none of the optional files; `load` is what a fresh process does."""

    def __init__(self, server, kind, folder, cache):
        self.server = server
        self.url = f"{server.url}model/"
        self.files = {}
        self._opener = lambda: cached_opener(cache, QUICK)
        tiny = write_tiny_gguf(folder / "tiny.gguf")
        if kind == "mlc":
            write_mlc(folder / "m", tiny.metadata, tiny.tensors, "q4f16_1", cache="ndarray-cache.json")
        else:
            write_huggingface(folder / "m", tiny.metadata, tiny.tensors, "F16")
        for path in (folder / "m").iterdir():
            self.files[path.name] = Faulty(path.read_bytes(), "")
        for name in OPTIONAL[kind]:
            self.files[name] = Faulty(b"", "", refused=404)
        server.files.update({f"model/{name}": file for name, file in self.files.items()})

    async def load(self):
        """The texts of the model, whose weights were read, too."""
        opened = await open_checkpoint(self.url, self._opener())
        memory: Any = Memory()
        for tensor in opened.checkpoint.tensors.values():
            await opened.blobs.stream_into(memory, None, tensor.start, tensor.stop, lambda _: None)
        return opened.texts

    def asked(self):
        """Files that were asked for since it was last called, in no order."""
        found = {name for name, file in self.files.items() if file.asked}
        for file in self.files.values():
            file.asked.clear()
        return found


@pytest.fixture(params=["huggingface", "mlc"])
def model(request, tmp_path):
    with FaultyServer() as server:
        yield Model(server, request.param, tmp_path, tmp_path / "cache")


async def test_a_model_loads_without_the_files_that_it_may_lack(model):
    texts = await model.load()
    assert texts.chat_template is None
    assert texts.config == {}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
async def test_a_file_that_cannot_be_asked_for_is_not_taken_for_one_that_is_not_there(model, file, status):
    model.files[file].refused = status
    with pytest.raises(DownloadFailed, match=f"{file} answered {status}"):
        await model.load()
    model.files[file].refused = 0
    model.files[file].data = {"chat_template.jinja": b"{{ 1 }}", "tokenizer_config.json": b'{"a": 1}'}[file]
    texts = await model.load()
    assert texts.chat_template == "{{ 1 }}" if file.endswith("jinja") else texts.config == {"a": 1}


async def test_a_connection_that_breaks_is_no_answer_either(model):
    del model.server.files["model/chat_template.jinja"]  # the server ends the connection
    with pytest.raises(DownloadFailed, match=r"chat_template\.jinja cannot be reached"):
        await model.load()
