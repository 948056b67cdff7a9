"""The worst files that anyone thought of, large: memory stays under their size and a constant, and the end is soon.

Small files, of any bytes and values, are test_fuzz.py's.
"""

from __future__ import annotations

import struct

import pytest

from local_llm.errors import CorruptModel
from local_llm.formats.gguf import read_gguf
from local_llm.formats.json_file import parse_object
from local_llm.formats.opening import open_checkpoint
from local_llm.formats.safetensors import read_safetensors
from local_llm.native.blobs import open_blobs
from tests.conftest import wait
from tests.unit.fuzzing import BESIDE, bounded

MANY = 3_000_000
JSON = {
    "lists": b'{"a":[[]' + b",[]" * MANY + b"]}",
    "objects": b'{"a":[{}' + b",{}" * MANY + b"]}",
    "small objects": b'{"a":[{}' + b',{"a":0}' * MANY + b"]}",
    "numbers": b'{"a":[-9' + b",-9" * MANY + b"]}",
    "texts": b'{"a":["ab"' + b',"ab"' * MANY + b"]}",
    "keys": b'{"a":1' + b',"a":1' * MANY + b"}",
    "a wide text": '{"a":"\U0001f600'.encode() + b"a" * (8 * MANY) + b'"}',
    "deep": b'{"a":' + b"[" * MANY + b"]" * MANY + b"}",
}


def part(data: bytes, bytes_of_json: int) -> bytes:
    """So much of it that it is just allowed, ended as it ends."""
    return data[:bytes_of_json].rsplit(b",", 1)[0] + data[-2:]


@pytest.mark.parametrize("kind", JSON)
def test_json_of_many_small_values_is_refused_before_they_are_made(kind):
    with bounded(1 << 20, of=CorruptModel):
        parse_object("a.json", JSON[kind])


@pytest.mark.parametrize("kind", [kind for kind in JSON if kind not in ("a wide text", "deep", "keys")])
def test_json_that_is_allowed_takes_what_it_may(kind):
    costs = {"lists": 148, "objects": 748, "small objects": 972, "numbers": 48, "texts": 112}
    each = len(JSON[kind][-20:].split(b",")[-2]) + 1
    data = part(JSON[kind], (60 << 20) // costs[kind] * each)
    with bounded(len(data) + BESIDE):
        assert len(parse_object("a.json", data)["a"]) > 10_000


@pytest.mark.parametrize("kind", ["lists", "small objects"])
def test_a_safetensors_head_is_bounded(kind):
    data = struct.pack("<Q", len(JSON[kind])) + JSON[kind]
    blobs = wait(open_blobs(data))
    with bounded(len(data) + BESIDE, of=CorruptModel):
        wait(read_safetensors(blobs))


def gguf(entries: int, body: bytes, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + body


def entry(kind: int, value: bytes, key: bytes = b"a") -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes) -> bytes:
    return entry(9, struct.pack("<IQ", kind, count) + values)


TEXTS = 1 << 21  # of one array, the most there may be
HEAD = 31 << 20  # bytes: the largest head there may be
WIDE = "\U0001f600".encode()
GGUF = {
    "empty texts": gguf(1, array(8, TEXTS, bytes(8 * TEXTS))),
    "short texts": gguf(1, array(8, TEXTS, (struct.pack("<Q", 1) + b"a") * TEXTS)),
    "zeros": gguf(1, array(8, TEXTS, (struct.pack("<Q", 1) + b"\0") * TEXTS)),
    "too many texts": gguf(1, array(8, HEAD // 8, bytes(HEAD))),
    "arrays": gguf(1, array(9, HEAD // 12, struct.pack("<IQ", 0, 0) * (HEAD // 12))),
    "a wide text": gguf(1, entry(8, struct.pack("<Q", HEAD) + WIDE + b"a" * (HEAD - 4))),
    "keys": gguf(HEAD // 25, b"".join(entry(7, b"\1", b"%012d" % i) for i in range(HEAD // 25))),
    "numbers": gguf(1, array(0, HEAD, bytes(HEAD))),
    "truths": gguf(1, array(7, HEAD, bytes(HEAD))),
    "tensors": gguf(0, bytes(HEAD), tensors=HEAD // 41),
    "texts that end too late": gguf(1, array(8, HEAD // 8, struct.pack("<QQ", 0, 1 << 40) * (HEAD // 16))),
}


@pytest.mark.parametrize("kind", GGUF)
def test_the_head_of_a_gguf_is_bounded(kind):
    data = GGUF[kind]
    blobs = wait(open_blobs(data))
    with bounded(len(data) + BESIDE):
        wait(read_gguf(blobs))


def test_a_template_file_is_bounded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_bytes(WIDE + b"a" * (2 << 20))
    with pytest.raises(CorruptModel, match="jinja"):
        wait(open_checkpoint(str(tmp_path), open_blobs))
