"""Models of several files at an address: which files they may lack, and that an error is not taken for a lack."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from local_llm.errors import DownloadFailed, UnsupportedModel
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
NEEDED = {"huggingface": "config.json", "mlc": "mlc-chat-config.json"}
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
        self.cache = cache
        tiny = write_tiny_gguf(folder / "tiny.gguf")
        if kind == "mlc":
            write_mlc(folder / "m", tiny.metadata, tiny.tensors, "q4f16_1", cache="ndarray-cache.json")
        else:
            write_huggingface(folder / "m", tiny.metadata, tiny.tensors, "F16")
        for path in (folder / "m").iterdir():
            self.files[path.name] = Faulty(path.read_bytes(), "")
        for name in OPTIONAL[kind]:
            self.files[name] = Faulty(b"", "", refused=404)
        server.files["model/config.json"] = Faulty(b"", "", refused=404)
        server.files.update({f"model/{name}": file for name, file in self.files.items()})

    async def load(self, opener=None):
        """The texts of the model, whose weights were read, too. opener: of a process that goes on."""
        opened = await open_checkpoint(self.url, opener or cached_opener(self.cache, QUICK))
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
def kind(request):
    return request.param


@pytest.fixture
def model(kind, tmp_path):
    with FaultyServer() as server:
        yield Model(server, kind, tmp_path, tmp_path / "cache")


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


async def test_a_server_that_is_busy_is_asked_a_few_times(model):
    file = model.files["chat_template.jinja"]
    file.data, file.refused = b"{{ 1 }}", 503

    async def recover():  # while the load pauses
        assert len(file.asked) == 1
        file.refused = 0

    texts, _ = await asyncio.gather(model.load(), recover())
    assert texts.chat_template == "{{ 1 }}"


async def test_a_connection_that_breaks_is_no_answer_either(model):
    del model.server.files["model/chat_template.jinja"]  # the server ends the connection
    with pytest.raises(DownloadFailed, match=r"chat_template\.jinja cannot be reached"):
        await model.load()


# The second load


async def loaded_once(model):
    await model.load()
    assert model.asked() == set(model.files)


def marks(model):
    return sorted(model.cache.glob("*/absent"))


async def test_a_second_load_asks_the_network_nothing(model):
    await loaded_once(model)
    texts = await model.load()
    assert model.asked() == set()
    assert texts.chat_template is None


async def test_after_a_week_absent_files_are_asked_for_again(model, kind):
    await loaded_once(model)
    for mark in marks(model):
        os.utime(mark, (0, time.time() - 8 * 86400))
    await model.load()
    assert model.asked() == set(OPTIONAL[kind])
    await model.load()
    assert model.asked() == set()
    for mark in marks(model):
        os.utime(mark, (0, time.time() - 8 * 86400))
    model.files["chat_template.jinja"] = model.server.files["model/chat_template.jinja"] = Faulty(b"{{ 1 }}", "")
    assert (await model.load()).chat_template == "{{ 1 }}"
    assert len(marks(model)) == len(OPTIONAL[kind]) - 1


async def test_where_nobody_can_be_asked_an_absent_file_stays_absent(model):
    await loaded_once(model)
    for mark in marks(model):
        os.utime(mark, (0, 0))
    model.server.files.clear()
    assert (await model.load()).chat_template is None


async def test_a_load_that_fails_before_the_weights_leaves_no_word_of_absence(model, kind):
    opener = cached_opener(model.cache, QUICK)
    for file in (NEEDED[kind], "tokenizer.json"):
        model.files[file].refused = 404
        with pytest.raises(UnsupportedModel):
            await model.load(opener)
        assert marks(model) == []
        model.files[file].refused = 0
    await model.load(opener)
    absent = {mark.read_text().rpartition("/")[2] for mark in marks(model)}
    assert absent >= set(OPTIONAL[kind])
    assert not absent & {NEEDED[kind], "tokenizer.json"}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_not_remembered(model, status):
    model.files["chat_template.jinja"].refused = status
    await loaded_once(model)
    await model.load()
    assert model.asked() == {"chat_template.jinja"}


@pytest.mark.parametrize("kind", ["mlc"], indirect=True)
async def test_weights_that_are_missing_are_asked_for_every_time(model):
    shard, opener = model.files["params_shard_1.bin"], cached_opener(model.cache, QUICK)
    shard.refused = 404
    for _ in range(2):
        with pytest.raises(DownloadFailed, match=r"params_shard_1\.bin answered 404"):
            await model.load(opener)
    shard.refused = 0
    await model.load(opener)
