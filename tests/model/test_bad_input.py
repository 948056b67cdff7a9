"""What is wrong with a file or a request is named, nothing stays on the GPU (fixture llm), and the next init works."""

import re

import numpy as np
import pytest

from local_llm.errors import ContextOverflow, CorruptModel, DownloadFailed, InvalidRequest, NotReady, UnsupportedModel
from tests.model.tiny import write_tiny_gguf
from tests.reference.gguf_writer import split_gguf, store, write_gguf


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def rewritten(tiny, *, metadata=None, tensors=None, without=()):
    """The same model with some entries other than they should be."""
    kept = {name: store(values, "F32") for name, values in tiny.tensors.items() if name not in without}
    path = tiny.path.with_name("changed.gguf")
    return write_gguf(path, {**tiny.metadata, **(metadata or {})}, kept | (tensors or {}))


async def refused(llm, tiny, source, error, says):
    with pytest.raises(error, match=says) as caught:
        await llm.init(str(source))
    assert len(str(caught.value)) < 400
    assert llm.status()["error"]
    assert llm.status()["gpu_bytes"] == 0
    await llm.init(str(tiny.path))
    assert (await llm.complete([5, 6, 7], max_tokens=2, ignore_eos=True)).finish_reason == "length"


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"general.architecture": "mamba"}, UnsupportedModel, r"'mamba'.*supported: .*llama"),
        ({"llama.block_count": 3}, CorruptModel, r"blk\.2\..*missing"),
        ({"llama.feed_forward_length": 128}, CorruptModel, r"ffn_gate.*\(96, 64\).*\(128, 64\)"),
        ({"llama.attention.head_count_kv": 3}, CorruptModel, "3 key-value heads"),
        ({"llama.embedding_length": 1 << 40}, CorruptModel, "embedding_length"),
        ({"llama.rope.scaling.type": "dynamic"}, UnsupportedModel, "dynamic"),
        ({"llama.expert_count": 8}, UnsupportedModel, "mixture of experts"),
        ({"tokenizer.ggml.pre": "martian"}, UnsupportedModel, "martian"),
    ],
)
async def test_metadata(llm, tiny, change, error, says):
    await refused(llm, tiny, rewritten(tiny, metadata=change), error, says)


async def test_a_missing_tensor(llm, tiny):
    await refused(llm, tiny, rewritten(tiny, without=["blk.1.attn_k.weight"]), CorruptModel, "attn_k.*missing")


async def test_a_bias_that_the_family_does_not_know(llm, tiny):
    bias = {"blk.0.ffn_down.bias": store(np.zeros(64, np.float32), "F32")}
    await refused(llm, tiny, rewritten(tiny, tensors=bias), UnsupportedModel, r"blk\.0\.ffn_down\.bias.*llama")


async def test_a_file_cut_short(llm, tiny):
    cut = tiny.path.with_name("cut.gguf")
    cut.write_bytes(tiny.path.read_bytes()[:-5000])
    await refused(llm, tiny, cut, CorruptModel, "cut.gguf")


async def test_something_else_than_a_model(llm, tiny):
    page = tiny.path.with_name("page.gguf")
    page.write_text("<!doctype html><title>404</title>" * 100)
    await refused(llm, tiny, page, CorruptModel, "HTML")


async def test_no_file(llm, tiny):
    await refused(llm, tiny, tiny.path.with_name("none.gguf"), DownloadFailed, r"none\.gguf")


async def test_a_context_beyond_training(llm, tiny):
    with pytest.raises(ContextOverflow, match=r"100000.*256"):
        await llm.init(str(tiny.path), context_size=100000)
    with pytest.raises(InvalidRequest, match="context_size"):
        await llm.init(str(tiny.path), context_size=0)


async def test_a_prompt_longer_than_the_cache(llm, tiny):
    await llm.init(str(tiny.path), context_size=16)
    with pytest.raises(ContextOverflow, match=r"17 tokens; the cache holds 16"):
        await llm.complete(list(range(17)))
    assert (await llm.complete([1, 2], max_tokens=1, ignore_eos=True)).usage.completion_tokens == 1


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "empty|at least one"),
        ([{"role": "wizard", "content": "hi"}], "wizard"),
        ([{"role": "user"}], "content"),
        ([{"role": "user", "content": "hi", "mood": "good"}], "mood"),
        ("hi", "list"),
    ],
)
async def test_messages(llm, tiny, messages, says):
    await llm.init(str(tiny.path))
    with pytest.raises(InvalidRequest, match=re.compile(says, re.IGNORECASE)):
        await llm.chat(messages)


@pytest.mark.parametrize("options", [{"temperature": -1}, {"max_tokens": 0}, {"speed": "fast"}])
async def test_options(llm, tiny, options):
    await llm.init(str(tiny.path))
    with pytest.raises(InvalidRequest, match=next(iter(options))):
        await llm.chat([{"role": "user", "content": "hi"}], **options)


async def test_before_init(llm):
    with pytest.raises(NotReady, match="init"):
        await llm.chat([{"role": "user", "content": "hi"}])


async def test_a_base_model_has_no_chat(llm, tiny):
    await llm.init(str(rewritten(tiny, metadata={"tokenizer.chat_template": ""})))
    with pytest.raises(InvalidRequest, match="complete"):
        await llm.chat([{"role": "user", "content": "hi"}])


async def test_a_split_model(llm, tiny, tmp_path):
    """It generates what the whole does; without one of its parts it is refused by that part's name."""
    await llm.init(str(tiny.path))
    whole = (await llm.complete([5, 6, 7], max_tokens=8, ignore_eos=True)).token_ids
    paths = split_gguf(tiny.path, tmp_path / "parts", 3)
    for source in (str(paths[0]), str(paths[0].parent), [*paths[::-1]]):
        await llm.init(source)
        assert (await llm.complete([5, 6, 7], max_tokens=8, ignore_eos=True)).token_ids == whole
    assert llm.status()["model"] == "tiny"
    paths[1].unlink()
    await refused(llm, tiny, paths[0], DownloadFailed, r"tiny-00002-of-00003\.gguf")
    await refused(llm, tiny, paths[0].parent, CorruptModel, r"tiny-00002-of-00003\.gguf is missing")
