"""Heads of safetensors files and Hugging Face folders: sound ones, and that broken ones end in a typed error."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm.errors import CorruptModel, DownloadFailed, ModelError, UnsupportedModel
from local_llm.formats.huggingface import settings_of
from local_llm.formats.opening import open_checkpoint
from local_llm.formats.safetensors import read_safetensors
from local_llm.native.blobs import open_blobs
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import encode_safetensors, write_huggingface

SOUND = {"a.weight": np.ones((2, 3), np.float32), "b.bias": np.zeros(5, np.float32)}


def read(data: bytes):
    return wait(read_safetensors(wait(open_blobs(data))))


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_gguf(tmp_path / "tiny.gguf")


@pytest.mark.parametrize(("dtype", "size"), [("F32", 4), ("F16", 2), ("BF16", 2)])
def test_a_sound_file(dtype, size):
    data = encode_safetensors(SOUND | {"ids": np.arange(2)}, dtype, pad=3)
    tensors = read(data)
    assert {name: (t.shape, t.type.name, t.nbytes) for name, t in tensors.items()} == {
        "a.weight": ((2, 3), dtype, 6 * size),
        "b.bias": ((5,), dtype, 5 * size),
        "ids": ((2,), "I64", 16),
    }
    assert tensors["ids"].stop == len(data)
    assert struct.unpack("<2q", data[tensors["ids"].start :]) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"a.weight": {"dtype": "F4"}}, "dtype of tensor 'a.weight'.*F32"),
        ({"a.weight": {"shape": [2, -3]}}, "shape of tensor 'a.weight'.*whole numbers"),
        ({"a.weight": {"shape": [1] * 9}}, "shape of tensor 'a.weight'"),
        ({"a.weight": {"shape": [True, 6]}}, "shape of tensor 'a.weight'"),
        ({"a.weight": {"shape": [2, 4]}}, r"data_offsets of tensor 'a.weight'.*32 bytes for F32 \[2, 4\]"),
        ({"a.weight": {"data_offsets": [24, 0]}}, "data_offsets of tensor 'a.weight'"),
        ({"a.weight": {"data_offsets": [0]}}, "data_offsets of tensor 'a.weight'"),
        ({"a.weight": {"data_offsets": [1 << 60, (1 << 60) + 24]}}, "data_offsets of tensor 'a.weight'"),
        ({"a.weight": {"data_offsets": [400, 424]}}, "cut short"),
        ({"b.bias": {"data_offsets": [20, 40]}}, "'b.bias'.*behind 'a.weight'"),
        ({"a.weight": 7}, "tensor 'a.weight' to be an object"),
    ],
)
def test_a_broken_head(changes, says):
    with pytest.raises(CorruptModel, match=rf"the given bytes.*{says}"):
        read(encode_safetensors(SOUND, "F32", changes=changes))


def headed(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"GGUF", "4 bytes"),
        (headed(b"{}", 3), "length of a head, 2 to 2 bytes, found 3"),
        (headed(b"{}", 1 << 63), "length of a head"),
        (headed(b'{"a": '), "JSON"),
        (headed(b"[1, 2]"), "an object"),
        (headed(b"\xff\xfe\xfd"), "JSON"),
        (headed(b'{"a": 1, "a": 1}'), "twice"),
        (headed(b"[" * 100_000), "JSON"),
    ],
)
def test_no_safetensors(data, says):
    with pytest.raises(CorruptModel, match=says):
        read(data)


@given(st.binary(max_size=40), st.integers(0, 200))
def test_any_bytes_end_in_tensors_or_a_typed_error(noise, at):
    data = bytearray(encode_safetensors(SOUND, "F32"))
    data[at : at + len(noise)] = noise
    try:
        tensors = read(bytes(data))
    except ModelError:
        return
    assert all(8 <= tensor.start <= tensor.stop <= len(data) for tensor in tensors.values())


# Folders


def opened(source):
    return wait(open_checkpoint(source, open_blobs))


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("how", ["folder", "file", "list"])
def test_a_folder(tiny, tmp_path, files, how):
    folder = write_huggingface(tmp_path / "m", tiny.metadata, tiny.tensors, "F16", files=files)
    first = sorted(folder.glob("*.safetensors*"))[0]
    found = opened({"folder": folder, "file": first, "list": sorted(folder.iterdir())}[how])
    checkpoint = found.checkpoint
    assert set(checkpoint.tensors) == set(tiny.tensors)
    assert not checkpoint.converted
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert checkpoint.metadata["llama.block_count"] == 2
    for name in ("token_embd.weight", "blk.1.ffn_down.weight", "output_norm.weight"):
        tensor = checkpoint.tensors[name]
        raw = wait(found.blobs.read(tensor.start, tensor.stop))
        assert np.array_equal(np.frombuffer(raw, "<f2").reshape(tensor.shape), tiny.tensors[name].astype("<f2"))
    assert found.texts is not None
    assert found.texts.stop_ids == (2, 0)
    assert json.loads(found.texts.tokenizer)["model"]["type"] == "BPE"
    assert "im_start" in found.texts.config["chat_template"]


@given(
    st.dictionaries(
        st.sampled_from(
            ["model_type", "hidden_size", "num_attention_heads", "rope_scaling", "layer_types", "head_dim"]
        ),
        st.one_of(st.none(), st.integers(-1, 2), st.text(max_size=2), st.lists(st.integers()), st.just({"type": {}})),
    )
)
def test_any_configuration_ends_in_metadata_or_a_typed_error(config):
    try:
        values = settings_of("config.json", config)
    except CorruptModel:
        return
    assert isinstance(values["general.architecture"], str)


def test_a_missing_file_is_named(tiny, tmp_path):
    folder = write_huggingface(tmp_path / "m", tiny.metadata, tiny.tensors, "F16", files=3)
    (folder / "model-00002-of-00003.safetensors").rename(tmp_path / "aside")
    with pytest.raises(DownloadFailed, match=r"model-00002-of-00003\.safetensors"):
        opened(folder)
    for file, error, says in [
        ("tokenizer.json", UnsupportedModel, "no tokenizer.json"),
        ("config.json", UnsupportedModel, "holds no model"),
    ]:
        whole = write_huggingface(tmp_path / file, tiny.metadata, tiny.tensors, "F16")
        (whole / file).unlink()
        with pytest.raises(error, match=says):
            opened(whole)


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ({"model.norm.weight": "../other.safetensors"}, "name of a file in the same folder"),
        ({"model.norm.weight": "https://evil/x"}, "name of a file in the same folder"),
        ({"model.norm.weight": 3}, "model.norm.weight of weight_map"),
        ({"nothing.weight": "model-00001-of-00002.safetensors"}, "'nothing.weight' in model-00001-of-00002"),
        ([], "weight_map to be an object"),
        ({}, "tensors in 1 to"),
    ],
)
def test_a_broken_index(tiny, tmp_path, places, says):
    folder = write_huggingface(tmp_path / "m", tiny.metadata, tiny.tensors, "F16", files=2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CorruptModel, match=rf"index\.json.*{says}"):
        opened(folder)


def test_a_tensor_that_is_there_under_two_names(tiny, tmp_path):
    folder = write_huggingface(tmp_path / "m", tiny.metadata, tiny.tensors, "F16")
    twice = {"model.norm.weight": np.ones(64, np.float32), "norm.weight": np.ones(64, np.float32)}
    (folder / "model.safetensors").write_bytes(encode_safetensors(twice, "F32"))
    with pytest.raises(CorruptModel, match=r"'norm\.weight' is there a second time, as 'output_norm\.weight'"):
        opened(folder)
