"""Split GGUF files: the parts make the whole again, from any of them, and what is missing is named."""

import pytest

from local_llm.errors import CorruptModel, DownloadFailed, ModelError
from local_llm.formats.files import JoinedBlobs
from local_llm.formats.gguf import read_gguf
from local_llm.formats.gguf_split import part_names, read_parts
from local_llm.formats.opening import open_checkpoint
from local_llm.formats.windows import plan_windows
from local_llm.native.blobs import FileBlobs, open_blobs
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.gguf_writer import split_gguf


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_gguf(tmp_path / "tiny.gguf", types="Q8_0")


def opened(source):
    found = wait(open_checkpoint(source, open_blobs))
    return found.checkpoint, found.blobs


async def content(checkpoint, blobs):
    return {name: await blobs.read(tensor.start, tensor.stop) for name, tensor in checkpoint.tensors.items()}


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("how", ["first", "last", "list", "folder"])
def test_parts_make_the_whole(tiny, tmp_path, count, how):
    whole = wait(read_gguf(wait(open_blobs(tiny.path))))
    paths = split_gguf(tiny.path, tmp_path / "parts", count)
    source = {"first": paths[0], "last": str(paths[-1]), "list": paths[::-1], "folder": paths[0].parent}[how]
    checkpoint, blobs = opened(source)
    assert isinstance(blobs, JoinedBlobs)
    assert {name: t.shape for name, t in checkpoint.tensors.items()} == {n: t.shape for n, t in whole.tensors.items()}
    assert checkpoint.metadata["general.name"] == "Tiny"
    assert wait(content(checkpoint, blobs)) == wait(content(whole, wait(open_blobs(tiny.path))))
    assert checkpoint.size == blobs.size == sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("waits", [False, True])
def test_objects_that_can_be_read(tiny, tmp_path, waits):
    class Readable:
        def __init__(self, path):
            self.data = path.read_bytes()
            self.size = len(self.data)

        def read(self, start, stop):
            return self.data[start:stop]

    class Waiting(Readable):
        async def read(self, start, stop):
            return bytearray(self.data[start:stop])

    paths = split_gguf(tiny.path, tmp_path / "parts", 2)
    whole, blobs = opened(tiny.path)
    expected = wait(content(whole, blobs))
    kind = Waiting if waits else Readable
    assert wait(content(*opened([kind(path) for path in paths[::-1]]))) == expected
    short = kind(tiny.path)
    short.data = short.data[:100]
    with pytest.raises(CorruptModel, match=r"the given object: expected bytes \d+ to \d+, found"):
        opened(short)


def test_no_window_spans_two_files(tiny, tmp_path):
    checkpoint, blobs = opened(split_gguf(tiny.path, tmp_path / "parts", 3)[0])
    assert isinstance(blobs, JoinedBlobs)
    ends = [start + file.size for start, file in zip(blobs.starts, blobs.files, strict=True)]
    for window in plan_windows(checkpoint.tensors.values(), 32 << 20):
        assert any(start <= window.start < window.stop <= end for start, end in zip(blobs.starts, ends, strict=True))


def test_a_missing_part_is_named(tiny, tmp_path):
    paths = split_gguf(tiny.path, tmp_path / "parts", 3)
    with pytest.raises(CorruptModel, match=r"3 parts.*tiny-00002-of-00003\.gguf is missing\."):
        opened([paths[2], paths[0]])
    paths[1].unlink()
    with pytest.raises(DownloadFailed, match=r"tiny-00002-of-00003\.gguf"):
        opened(paths[0])
    renamed = paths[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(CorruptModel, match=r"renamed\.gguf is one of 3 parts.*part 2 of 3 is missing and 1 more"):
        opened(renamed)


def test_parts_that_do_not_belong_together(tiny, tmp_path):
    paths = split_gguf(tiny.path, tmp_path / "three", 3)
    others = split_gguf(tiny.path, tmp_path / "two", 2)
    for sources, says in [
        ([paths[0], paths[1], others[1]], "part 2 of 2 and does not belong"),
        ([paths[0], paths[1], paths[1]], "both part 2 of 3"),
        ([others[0], tiny.path], "does not belong"),
    ]:
        files = [FileBlobs(str(path), path.open("rb"), path.stat().st_size) for path in sources]
        with pytest.raises(ModelError, match=says):
            wait(read_parts(files))


def test_a_part_without_its_tensors_and_one_with_too_many(tiny, tmp_path):
    paths = split_gguf(tiny.path, tmp_path / "parts", 2, total=99)
    with pytest.raises(CorruptModel, match="expected 99 tensors"):
        opened(paths[0])
    paths = split_gguf(tiny.path, tmp_path / "parts", 2, repeat="output_norm.weight")
    with pytest.raises(CorruptModel, match=r"'output_norm\.weight' is in an earlier part too"):
        opened(paths[0])


def test_part_names():
    assert part_names("m.gguf") == ["m.gguf"]
    assert part_names("m-00001-of-00001.gguf") == ["m-00001-of-00001.gguf"]
    assert part_names("m-00002-of-00003.gguf") == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert part_names("m-00002-of-99999.gguf") == ["m-00002-of-99999.gguf"]
