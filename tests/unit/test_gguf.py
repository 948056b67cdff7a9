"""Heads of GGUF files: what a sound one says, and that a broken one ends in a typed error, at once."""

import struct
import tracemalloc
from contextlib import suppress

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm.errors import CorruptModel, ModelError, UnsupportedModel
from local_llm.formats.gguf import read_gguf
from tests.conftest import wait
from tests.model.tiny import tiny_tokens, write_tiny_gguf
from tests.reference.gguf_writer import Stored, Typed, encode_gguf, store, string


class CountedBlobs:
    """Bytes that remember which of them were asked for."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.name = "test.gguf"
        self.data = data
        self.size = len(data) if size is None else size
        self.reads: list[tuple[int, int]] = []

    async def read(self, start, stop):
        self.reads.append((start, stop))
        return self.data[start:stop]

    async def stream_into(self, device, buffer, start, stop, progress):
        raise AssertionError("a head is never streamed")


def read(data: bytes, size: int | None = None):
    return wait(read_gguf(CountedBlobs(data, size)))


def matrix(rows=4, cols=64, kind="Q4_1") -> Stored:
    return store(np.random.default_rng(0).standard_normal((rows, cols), np.float32), kind)


SOUND = {"general.architecture": "llama", "llama.block_count": 2}


# Sound files


@pytest.mark.parametrize("version", [2, 3])
def test_a_tiny_model_reads_as_the_gguf_package_reads_it(tmp_path, version):
    kinds = ["Q4_1", "Q8_0", "F16", "BF16", "Q5_0", "Q5_1", "Q4_0", "F32"]
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", types=kinds, tied=False, version=version)
    head = read(tiny.path.read_bytes())
    theirs = gguf.GGUFReader(tiny.path)
    assert head.version == version
    assert list(head.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        ours = head.tensors[tensor.name]
        assert (ours.start, ours.nbytes) == (tensor.data_offset, tensor.n_bytes)
        assert ours.shape == tuple(int(n) for n in reversed(tensor.shape))
        assert ours.type.name == tensor.tensor_type.name
    for key, value in tiny.metadata.items():
        found = head.metadata[key]
        assert (list(found) if isinstance(value, list) else found) == (
            pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        ), key


def test_a_file_by_the_gguf_packages_writer_is_read(tmp_path):
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a", "é", "😀", ""])
    writer.add_token_scores([0.5, -1.0, 2.0, 0.0])
    writer.add_bool("yes", True)
    writer.add_float64("pi", 3.141592653589793)
    writer.add_int64("low", -(1 << 40))
    writer.add_tensor("w", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = path.read_bytes()
    head = read(data)
    assert list(head.metadata["tokenizer.ggml.tokens"]) == ["a", "é", "😀", ""]
    assert head.metadata["tokenizer.ggml.scores"].tolist() == [0.5, -1.0, 2.0, 0.0]
    assert head.metadata["yes"] is True
    assert (head.metadata["pi"], head.metadata["low"]) == (3.141592653589793, -(1 << 40))
    tensor = head.tensors["w"]
    assert tensor.shape == (3, 4)
    assert np.frombuffer(data[tensor.start : tensor.stop], np.float32).tolist() == list(range(12))


def test_every_kind_of_value_is_read():
    values = {
        "u8": Typed(0, 200),
        "i8": Typed(1, -3),
        "u16": Typed(2, 60000),
        "i16": Typed(3, -300),
        "u32": Typed(4, 1 << 31),
        "i32": Typed(5, -5),
        "f32": Typed(6, 0.5),
        "bool": Typed(7, False),
        "text": "ü",
        "u64": Typed(10, 1 << 63),
        "i64": Typed(11, -(1 << 50)),
        "f64": Typed(12, 0.1),
    }
    head = read(encode_gguf(values | {"bools": Typed(9, [True, False], 7), "none": Typed(9, [], 8)}, {}))
    for key, value in values.items():
        assert head.metadata[key] == (value.value if isinstance(value, Typed) else value), key
    assert head.metadata["bools"].tolist() == [True, False]
    assert list(head.metadata["none"]) == []


def test_nested_arrays_and_slices_of_texts_are_read():
    nested = Typed(9, [Typed(9, [1, 2], 5), Typed(9, ["a", "bc", "d"], 8)], 9)
    raw = encode_gguf({"x": 1}, {})[: -4 - 4 - 9] + string("x") + struct.pack("<IIQ", 9, 9, 2)
    raw += struct.pack("<IQii", 5, 2, 1, 2) + struct.pack("<IQ", 8, 3) + string("a") + string("bc") + string("d")
    numbers, texts = read(raw).metadata["x"]
    assert numbers.tolist() == [1, 2]
    assert texts[1:] == ["bc", "d"]
    assert texts[-1] == "d"
    assert nested.value[1].value == list(texts)
    with pytest.raises(IndexError):
        texts[3]


def test_a_large_head_is_read_in_growing_ranges_and_no_byte_twice(monkeypatch):
    monkeypatch.setattr("local_llm.formats.gguf._FIRST_READ", 512)
    tokens = [f"token {n}" for n in range(5000)]
    blobs = CountedBlobs(encode_gguf(SOUND | {"tokens": tokens, "last": 7}, {"w": matrix()}))
    head = wait(read_gguf(blobs))
    assert list(head.metadata["tokens"]) == tokens
    assert head.metadata["last"] == 7
    assert blobs.reads[0] == (0, 512)
    assert [stop for _, stop in blobs.reads[:-1]] == [start for start, _ in blobs.reads[1:]]
    assert 3 < len(blobs.reads) < 12


def test_the_weights_are_not_read():
    data = encode_gguf(SOUND, {"w": matrix()})
    size = 8 << 30
    big = encode_gguf(SOUND, {"w": matrix()}, dims={"w": (64, (size - 4096) // 40)})
    blobs = CountedBlobs(big, size)
    blobs.data += bytes(4 << 20)
    head = wait(read_gguf(blobs))
    assert head.tensors["w"].nbytes > 7 << 30
    assert max(stop for _, stop in blobs.reads) <= 2 << 20
    assert len(data) < 1 << 20


# Broken files

BROKEN = {
    "an empty file": (b"", "an empty file"),
    "an HTML page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "a zip": (b"PK\x03\x04" + bytes(40), "a zip archive"),
    "safetensors": (struct.pack("<Q", 40) + b'{"__metadata__":{}}' + bytes(30), "a safetensors file"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "other bytes": (b"\x01\x02\x03\x04" + bytes(40), "01 02 03 04"),
    "only a magic": (b"GGUF", "4 bytes for the version"),
    "2^60 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + bytes(64), r" 8: expected at most 2 tensors"),
    "2^60 entries": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60) + bytes(64), r"at most 4 metadata entries"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_no_gguf_says_what_it_looks_like(case):
    data, message = BROKEN[case]
    with pytest.raises(CorruptModel, match=f"test.gguf, byte.*{message}"):
        read(data)


@pytest.mark.parametrize("version", [1, 4, 255])
def test_other_versions_are_unsupported(version):
    with pytest.raises(UnsupportedModel, match=f"version {version}; versions 2 and 3"):
        read(encode_gguf({}, {}, version=version))


def test_a_big_endian_file_is_unsupported():
    with pytest.raises(UnsupportedModel, match="big-endian"):
        read(b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(99))


def _entry(kind: int, payload: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("key") + struct.pack("<I", kind) + payload + bytes(20)


ENTRIES = {
    "unknown type": (_entry(13, b""), "a value type from 0 to 12 for 'key', found 13"),
    "unknown element type": (_entry(9, struct.pack("<IQ", 99, 1)), "an element type from 0 to 12"),
    "a bool of 2": (_entry(7, b"\2"), "0 or 1 for 'key', found 2"),
    "a text past the end": (_entry(8, struct.pack("<Q", 1 << 60)), f"{1 << 60} bytes for 'key'"),
    "2^60 numbers": (_entry(9, struct.pack("<IQ", 10, 1 << 60)), "at most 2 elements of 'key'"),
    "2^60 texts": (_entry(9, struct.pack("<IQ", 8, 1 << 60)), "at most 2 elements of 'key'"),
    "a text of an array past the end": (_entry(9, struct.pack("<IQQ", 8, 1, 1 << 40)), "bytes for a text of 'key'"),
    "arrays too deep": (_entry(9, struct.pack("<IQ", 9, 1) * 9), "nested at most 4 deep"),
    "an empty key": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 0) + bytes(40), "a metadata key, found an empty text"),
    "a key that is not UTF-8": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"\xff\xfe") + bytes(40),
        "a metadata key in UTF-8",
    ),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_broken_metadata_is_named_with_its_place(case):
    data, message = ENTRIES[case]
    with pytest.raises(CorruptModel, match=message):
        read(data)


def test_duplicate_keys_and_tensors_are_corrupt():
    twice = string("key") + struct.pack("<II", 4, 1)
    with pytest.raises(CorruptModel, match="'key' a second time"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + twice * 2)
    twice = string("w") + struct.pack("<IQIQ", 1, 4, 0, 0)
    with pytest.raises(CorruptModel, match="'w' a second time"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + twice * 2 + bytes(64))


DIRECTORIES = {
    "no dimensions": ({"dims": {"w": ()}}, CorruptModel, "1 to 4 dimensions"),
    "five dimensions": ({"dims": {"w": (32, 1, 1, 1, 1)}}, CorruptModel, "1 to 4 dimensions"),
    "a dimension of zero": ({"dims": {"w": (64, 0)}}, CorruptModel, "dimensions of at least 1"),
    "a product that overflows": ({"dims": {"w": (1 << 63, 1 << 63)}}, CorruptModel, "a file of"),
    "more rows than bytes": ({"dims": {"v": (64, 5)}}, CorruptModel, "cut short"),
    "rows that split a block": ({"dims": {"w": (48, 4)}}, CorruptModel, "a multiple of 32 weights"),
    "a misaligned offset": ({"offsets": {"w": 8}}, CorruptModel, "a multiple of 32, found 8"),
    "an offset past the end": ({"offsets": {"w": 1 << 62}}, CorruptModel, "cut short"),
    "an overlap": ({"offsets": {"w": 0, "v": 32}}, CorruptModel, "'v' to begin after 'w'"),
    "an unknown type": ({"codes": {"w": 77}}, UnsupportedModel, "unknown type number 77.*Q4_1"),
    "a type that was removed": ({"codes": {"w": 4}}, UnsupportedModel, "unknown type number 4"),
}


@pytest.mark.parametrize("case", DIRECTORIES)
def test_a_directory_that_contradicts_the_file_is_refused(case):
    options, error, message = DIRECTORIES[case]
    with pytest.raises(error, match=message):
        read(encode_gguf(SOUND, {"w": matrix(), "v": matrix()}, **options))


@pytest.mark.parametrize("alignment", [0, 1, 7, 48, -8, "32", True])
def test_an_alignment_must_be_a_power_of_two(alignment):
    with pytest.raises(CorruptModel, match=r"general\.alignment"):
        read(encode_gguf(SOUND | {"general.alignment": alignment}, {"w": matrix()}))


def test_another_alignment_is_respected():
    data = encode_gguf(SOUND | {"general.alignment": 64}, {"w": matrix(1), "v": matrix()}, alignment=64)
    head = read(data)
    assert [tensor.start % 64 for tensor in head.tensors.values()] == [0, 0]
    assert head.tensors["v"].stop <= head.size


def test_a_file_cut_anywhere_is_corrupt():
    data = encode_gguf(SOUND | {"tokens": tiny_tokens()}, {"w": matrix(), "v": matrix(1, 32, "F32")})
    read(data)
    for size in [*range(0, len(data) - 16, 7), len(data) - 1]:
        with pytest.raises(CorruptModel):
            read(data[:size])


def test_a_head_that_would_fill_memory_is_refused_before_it_is_read():
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 30)
    blobs = CountedBlobs(data, 4 << 30)
    with pytest.raises(CorruptModel, match="a head of at most"):
        wait(read_gguf(blobs))


BASE = encode_gguf(SOUND | {"tokens": ["a", "b"], "numbers": [1, 2, 3]}, {"w": matrix(2), "v": matrix(1, 32, "F32")})


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 330), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_mutated_heads_end_in_a_typed_error_or_a_sound_directory(patches):
    data = bytearray(BASE)
    for at, patch in patches:
        data[at : at + len(patch)] = patch
    tracemalloc.start()
    try:
        with suppress(ModelError):
            head = read(bytes(data))
            assert all(0 < tensor.start <= tensor.stop <= len(data) for tensor in head.tensors.values())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
