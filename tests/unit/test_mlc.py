"""MLC folders: what a sound one says, and that a broken one ends in a typed error that names the place."""

import json

import pytest

from local_llm.errors import CorruptModel, DownloadFailed, UnsupportedModel
from local_llm.formats.files import JoinedBlobs
from local_llm.formats.opening import open_checkpoint
from local_llm.native.blobs import open_blobs
from local_llm.quantization import storage_of
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import write_mlc


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def opened(source):
    return wait(open_checkpoint(source, open_blobs))


def written(tiny, folder, name="q4f16_1", **options):
    write_mlc(folder, tiny.metadata, tiny.tensors, name, **options)
    return folder


def changed(folder, change):
    """The folder with `change` made to its tensor cache."""
    path = folder / "tensor-cache.json"
    cache = json.loads(path.read_text())
    change(cache)
    path.write_text(json.dumps(cache))
    return folder


def second_file(blobs):
    """Where its bytes begin."""
    assert isinstance(blobs, JoinedBlobs)
    return blobs.starts[1]


def tensor(cache, name):
    return next(entry for shard in cache["records"] for entry in shard["records"] if entry["name"] == name)


@pytest.mark.parametrize(
    ("name", "kind", "scales"),
    [
        ("q4f16_1", "q4f16_1", "q4f16_1 scales"),
        ("q4f32_1", "q4f32_1", "q4f32_1 scales (bf16)"),
        ("q4f16_0", "q4f16_0", "q4f16_0 scales"),
        ("q3f16_1", "q3f16_1", "q3f16_1 scales"),
        ("q0f16", "F16", None),
        ("q0f32", "BF16", None),
    ],
)
@pytest.mark.parametrize("how", ["folder", "file", "list"])
def test_a_folder(tiny, tmp_path, name, kind, scales, how):
    folder = written(tiny, tmp_path / "m", name, shards=3)
    source = {"folder": folder, "file": folder / "mlc-chat-config.json", "list": sorted(folder.iterdir())}[how]
    found = opened(source)
    tensors = found.checkpoint.tensors
    assert tensors["blk.0.attn_qkv.weight"].shape == (128, 64)
    assert tensors["blk.1.ffn_up.weight"].shape == (192, 64)
    assert tensors["blk.1.ffn_down.weight"].shape == (64, 96)
    down = tensors["blk.1.ffn_down.weight"]
    assert down.type.name == kind
    assert (down.scales.type.name if down.scales else None) == scales
    assert tensors["output_norm.weight"].type.name == ("BF16" if "f32" in name else "F16")
    if name == "q4f16_0":
        assert tensors["token_embd.weight"].type.name == "q4f16_1"  # embeddings are not transposed
    assert not found.checkpoint.converted
    assert found.checkpoint.metadata["llama.embedding_length"] == 64
    assert storage_of(found.checkpoint).nbytes == sum(path.stat().st_size for path in folder.glob("*.bin"))
    assert found.texts is not None
    assert found.texts.conversation
    assert found.texts.stop_ids == (2,)


def test_an_unknown_quantization_names_itself(tiny, tmp_path):
    folder = written(tiny, tmp_path / "m")
    path = folder / "mlc-chat-config.json"
    path.write_text(path.read_text().replace("q4f16_1", "q4f16_awq"))
    with pytest.raises(UnsupportedModel, match=r"'q4f16_awq'.*q4f16_1, q4f32_1.*q0f32"):
        opened(folder)


def test_a_missing_shard_is_named(tiny, tmp_path):
    folder = written(tiny, tmp_path / "m", shards=3)
    (folder / "params_shard_1.bin").rename(tmp_path / "aside")
    with pytest.raises(CorruptModel, match=r"params_shard_1\.bin is missing"):
        opened(folder)
    found = opened(folder / "mlc-chat-config.json")  # by address nobody knows yet
    at = second_file(found.blobs)
    with pytest.raises(DownloadFailed, match=r"params_shard_1\.bin"):
        wait(found.blobs.read(at, at + 4))


def test_a_shard_that_is_too_short_is_named(tiny, tmp_path):
    folder = written(tiny, tmp_path / "m")
    path = folder / "params_shard_1.bin"
    path.write_bytes(path.read_bytes()[:-4])
    found = opened(folder)
    at = second_file(found.blobs)
    with pytest.raises(CorruptModel, match=r"params_shard_1\.bin: expected \d+ bytes, found \d+"):
        wait(found.blobs.read(at, at + 4))


def edited(name, /, **fields):
    return lambda cache: tensor(cache, name).update(fields)


NORM = "model.norm.weight"
DOWN = "model.layers.0.mlp.down_proj.q_weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edited(NORM, dtype="float8"), r"dtype of tensor 'model\.norm\.weight'"),
        (edited(NORM, nbytes=130), "nbytes of tensor .* 128 for float16"),
        (edited(NORM, shape=[-64]), "shape of tensor"),
        (edited(NORM, byteOffset=1 << 40), r"byteOffset of tensor .*params_shard_\d\.bin has \d+ bytes"),
        (edited(NORM, byteOffset="0"), "byteOffset of tensor"),
        (edited(NORM, name=7), "name of records"),
        (edited(NORM, byteOffset=0), "overlap in params_shard"),
        (edited(DOWN, name=DOWN.replace("layers.0", "layers.1")), "is listed twice"),
        (edited(DOWN.replace("weight", "scale"), name="something.q_scale"), "has no scales"),
        (edited(DOWN, shape=[12 * 64]), r"down_proj.*\[768\].*rows of 96 weights have 12 and 3"),
        (edited(DOWN, shape=[12, 64]), r"down_proj.*\[12, 64\].*rows of 96 weights have 12 and 3"),
        (edited(DOWN.replace("weight", "scale"), dtype="bfloat16"), "has type bfloat16, which q4f16_1 has not"),
        (lambda cache: cache["records"][0].update(dataPath="../x"), "name of a file in the same folder"),
        (lambda cache: cache["records"][0].update(nbytes=-1), "nbytes of records"),
        (lambda cache: cache.update(records={}), "records of the file to be a list"),
        (lambda cache: cache["records"].append(3), r"records\[2\] of the file to be an object"),
    ],
)
def test_a_broken_cache(tiny, tmp_path, change, says):
    with pytest.raises(CorruptModel, match=says):
        opened(changed(written(tiny, tmp_path / "m"), change))


def test_a_config_that_does_not_say_the_widths(tiny, tmp_path):
    folder = written(tiny, tmp_path / "m")
    path = folder / "mlc-chat-config.json"
    config = json.loads(path.read_text())
    config["model_config"]["intermediate_size"] = "wide"
    path.write_text(json.dumps(config))
    with pytest.raises(CorruptModel, match="feed_forward_length, found 'wide'"):
        opened(folder)


def test_a_folder_without_its_cache(tiny, tmp_path):
    folder = written(tiny, tmp_path / "m")
    (folder / "tensor-cache.json").unlink()
    with pytest.raises(CorruptModel, match=r"neither tensor-cache\.json nor ndarray-cache\.json"):
        opened(folder)
