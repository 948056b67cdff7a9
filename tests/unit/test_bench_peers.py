"""What the peers suite makes for the other engines: an ONNX that holds together, prompts, and a table of ratios."""

from __future__ import annotations

from collections.abc import Iterator

import gguf
import numpy as np
import pytest

from bench import make_model, make_onnx, peers
from tools.shell import Failure


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a protocol buffer's message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        size = {0: 0, 2: None, 5: 4}[key & 7]
        if size == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, data[at : at + size]
        at += size


def texts(message: int | bytes, number: int) -> list[str]:
    assert isinstance(message, bytes)
    return [value.decode() for found, value in fields(message) if found == number and isinstance(value, bytes)]


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.gguf"
    make_model.write(path, "tiny", "Q4_0")
    return path


@pytest.mark.parametrize("dtype", ["q4", "q4f16"])
def test_every_input_of_a_node_is_made_before_it_and_every_weight_is_in_the_file(tiny, tmp_path, dtype):
    folder = make_onnx.write(tiny, tmp_path / "onnx", dtype)
    data = (folder / "onnx" / f"model_{dtype}.onnx_data").stat().st_size
    model = dict(fields((folder / "onnx" / f"model_{dtype}.onnx").read_bytes()))
    assert isinstance(model[7], bytes)
    graph = [(number, value) for number, value in fields(model[7]) if isinstance(value, bytes)]
    known = {texts(value, {11: 1, 5: 8}[number])[0] for number, value in graph if number in (11, 5)} | {""}
    for number, value in graph:
        if number == 1:
            assert set(texts(value, 1)) <= known, texts(value, 3)
            known |= set(texts(value, 2))
        if number == 5:
            place = {texts(entry, 1)[0]: texts(entry, 2)[0] for found, entry in fields(value) if found == 13}
            assert not place or int(place["offset"]) + int(place["length"]) <= data
    outputs = {texts(value, 1)[0] for number, value in graph if number == 12}
    assert outputs <= known
    assert outputs == {"logits", *(f"present.{n}.{each}" for n in (0, 1) for each in ("key", "value"))}


def test_q4_0_keeps_its_values_and_other_matrices_lose_little(tiny):
    raw = next(tensor for tensor in gguf.GGUFReader(tiny).tensors if tensor.name == "blk.0.ffn_down.weight")
    weights = gguf.dequantize(raw.data, raw.tensor_type)

    def decoded(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
        nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(*scales.shape, 32)
        return ((nibbles.astype(np.float32) - 8) * scales[..., None]).reshape(weights.shape)

    np.testing.assert_array_equal(decoded(*make_onnx.same(raw.data)), weights)
    normal = np.random.default_rng(0).standard_normal(weights.shape).astype(np.float32)
    error = np.abs(decoded(*make_onnx.q4(normal)) - normal).reshape(-1, 32)
    assert (error <= np.abs(normal).reshape(-1, 32).max(-1, keepdims=True) / 8 + 1e-6).all()
    assert error.mean() < 0.1


def test_prompts_are_made_of_whole_words(tiny):
    words = peers.words(tiny)
    assert words[:2] == [(0, "<0>"), (1, "<1>")]
    assert len(words) == 512


def test_a_model_without_words_is_refused(tiny, tmp_path):
    data = tiny.read_bytes().replace(b"<", b"~")
    (tmp_path / "bare.gguf").write_bytes(data)
    with pytest.raises(Failure, match="no words"):
        peers.words(tmp_path / "bare.gguf")


def test_the_table_tells_ratios_and_who_did_not_run():
    def run(decode: float) -> dict[str, float]:
        return {
            "decode_tokens_per_second": decode,
            "prefill_tokens_per_second": 10 * decode,
            "time_to_first_token_s": 1 / decode,
        }

    engines = {
        "ours": {"runs": [run(90), run(100), run(500)]},
        "wllama-cpu": {"runs": [run(40)]},
        "transformers-webgpu": {"failed": "Error: no\nadapter", "runs": []},
    }
    lines = peers.table(engines).splitlines()
    assert lines[2] == "| ours | 100.0 | 1000 | 10 | – | – |"
    assert lines[3] == "| wllama-cpu | 40.0 | 400 | 25 | 2.50 | 2.50 |"
    assert lines[4].startswith("| transformers-webgpu | did not run: Error: no adapter |")
    assert len({line.count("|") for line in lines}) == 1
