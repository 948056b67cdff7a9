"""Which format a source is, and where the files of a folder lie. The formats themselves have tests of their own."""

import pytest

from local_llm.errors import DownloadFailed, UnsupportedModel
from local_llm.formats.opening import address_of, open_checkpoint
from local_llm.native.blobs import open_blobs
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import write_huggingface, write_mlc

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("Qwen/Qwen3-0.6B", f"{HUB}/Qwen/Qwen3-0.6B/resolve/main/"),
        ("mlc-ai/Llama-3.2-1B-q4f16_1-MLC", f"{HUB}/mlc-ai/Llama-3.2-1B-q4f16_1-MLC/resolve/main/"),
        ("unsloth/a-GGUF:a.Q4_K_M.gguf", f"{HUB}/unsloth/a-GGUF/resolve/main/a.Q4_K_M.gguf"),
        ("unsloth/a-GGUF:BF16/a-00001-of-00002.gguf", f"{HUB}/unsloth/a-GGUF/resolve/main/BF16/a-00001-of-00002.gguf"),
        *((place, place) for place in ("models/a.gguf", "./a/b", "../a/b", "/a/b", "a", "a/b/c", "a/b/", "C:/a/b")),
        *((place, place) for place in ("https://a.b/c", "tests/unit", "a/b.safetensors", "a/b?c", "a/b:../c")),
    ],
)
def test_places(place, address):
    assert address_of(place) == address


def served(root, asked):
    """open_blobs for addresses at the hub, from the folder `root`; `asked` hears of each."""

    async def opened(source):
        asked.append(source)
        if not source.startswith(f"{HUB}/owner/repo/resolve/main/"):
            raise AssertionError(source)
        return await open_blobs(root / source.rsplit("/", 1)[1])

    return opened


def test_a_repository_is_a_folder(tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf")
    hf = write_huggingface(tmp_path / "hf", tiny.metadata, tiny.tensors, "F16", files=2)
    write_mlc(tmp_path / "mlc", tiny.metadata, tiny.tensors, "q0f16")
    for root, count in ((hf, 20), (tmp_path / "mlc", 14)):
        found = wait(open_checkpoint("owner/repo", served(root, [])))
        assert len(found.checkpoint.tensors) == count
        assert found.checkpoint.name == f"{HUB}/owner/repo"
    asked = []
    found = wait(open_checkpoint("owner/repo:tiny.gguf", served(tmp_path, asked)))
    assert asked == [f"{HUB}/owner/repo/resolve/main/tiny.gguf"]
    with pytest.raises(UnsupportedModel, match=r"owner/repo holds no model.*owner/repo:file\.gguf"):
        wait(open_checkpoint("owner/repo", served(tmp_path, [])))
    with pytest.raises(DownloadFailed, match=r"missing\.gguf"):
        wait(open_checkpoint("owner/repo:missing.gguf", served(tmp_path, [])))


def test_a_directory_with_several_models_names_them(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        write_tiny_gguf(tmp_path / name)
    with pytest.raises(UnsupportedModel, match=r"several models: a\.gguf, b\.gguf"):
        wait(open_checkpoint(tmp_path, open_blobs))
    with pytest.raises(UnsupportedModel, match="holds no model"):
        wait(open_checkpoint([], open_blobs))
