from dataclasses import replace

import numpy as np
import pytest

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint, Tensor
from local_llm.formats.quant import BY_NAME
from local_llm.formats.strings import Strings
from local_llm.models.config import Attention, read_config
from local_llm.models.metadata import Metadata
from local_llm.models.rope import Rope, rope_table
from tests.unit.fuzzing import bounded

META = {
    "general.architecture": "llama",
    "llama.embedding_length": 576,
    "llama.block_count": 30,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.feed_forward_length": 1536,
    "llama.context_length": 8192,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 100000.0,
}

UNEQUAL = (np.ones(1), np.ones(2))


def read(**changes):
    values = {**META, **{f"llama.{key}": value for key, value in changes.items()}}
    metadata = {key: value for key, value in values.items() if value is not None}
    embedding = Tensor("token_embd.weight", (49152, 576), BY_NAME["Q8_0"], 0, 0)
    checkpoint = Checkpoint("tiny.gguf", metadata, {embedding.name: embedding}, 0, converted=True)
    return read_config(checkpoint, interleaved=True)


def test_shapes_of_smollm2():
    config = read()
    assert (config.layers, config.width, config.heads, config.kv_heads, config.head_width) == (30, 576, 9, 3, 64)
    assert (config.q_rows, config.kv_rows, config.context) == (576, 192, 8192)
    assert config.vocab == 49152
    assert config.attention == (Attention(Rope(1e5, 64, True, original_context=8192)),) * 30


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("embedding_length", None, "found nothing"),
        ("embedding_length", 0, "from 1"),
        ("embedding_length", "big", "'big'"),
        ("block_count", 2000000, "2000000"),
        ("block_count", True, "True"),
        ("attention.head_count_kv", 4, "9 query heads cannot share 4"),
        ("attention.layer_norm_rms_epsilon", float("nan"), "positive"),
        ("rope.dimension_count", 63, "pairs"),
        ("rope.scaling.long_factors", [1.0, -1.0], "positive numbers"),
        ("rope.scaling.long_factors", [1.0, [2.0]], "4096 numbers"),
        ("rope.scaling.long_factors", UNEQUAL, "4096 numbers"),
        ("rope.scaling.long_factors", np.ones(4097, np.uint8), "4096 numbers"),
        pytest.param("rope.freq_base", 10**400, "a positive number", id="no float is so large"),
    ],
)
def test_metadata_that_makes_no_sense_is_named(key, value, says):
    with pytest.raises(CorruptModel, match=says):
        read(**{key: value})


READERS = {
    "numbers": lambda meta: meta.numbers("x"),
    "integers": lambda meta: meta.integers("x", 2),
    "flags": lambda meta: meta.flags("x", [True, True]),
    "cap": lambda meta: meta.cap("x"),
}


@pytest.mark.parametrize("value", [UNEQUAL, (np.ones(2), np.ones(2)), Strings.of(["a", "b"]), [1.0, "b"], ["a", "b"]])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_list_of_numbers_is_named(reader, value):
    with pytest.raises(CorruptModel, match=r"a\.gguf: metadata 'llama\.x' must be"):
        READERS[reader](Metadata("a.gguf", {"general.architecture": "llama", "llama.x": value}))


@pytest.mark.parametrize("reader", READERS)
def test_texts_in_place_of_numbers_take_no_memory(reader):
    texts = Strings.of([""] * 2000 + ["x" * 60000])
    with bounded(1 << 20, of=CorruptModel):
        READERS[reader](Metadata("a.gguf", {"general.architecture": "llama", "llama.x": texts}))


def test_numbers_are_read_from_arrays_and_lists():
    values = {"a": np.array([1, 0], np.int32), "b": [1, 0], "c": np.array([True, False]), "d": (0.5, 2), "e": 0.0}
    meta = Metadata("a.gguf", {"general.architecture": "llama"} | {f"llama.{key}": v for key, v in values.items()})
    assert meta.integers("a", 2) == meta.integers("b", 2) == meta.integers("f", 2, (1, 0)) == (1, 0)
    assert [meta.flags(key, [True, True]) for key in "abc"] == [(True, False)] * 3
    assert (meta.numbers("d"), meta.numbers("f")) == ((0.5, 2.0), ())
    assert meta.cap("e") == meta.cap("f") == 0


def test_unknown_rope_scaling_is_refused():
    with pytest.raises(UnsupportedModel, match="'ntk'"):
        read(**{"rope.scaling.type": "ntk"})


def test_rope_table_holds_cos_and_sin_of_position_times_frequency():
    table = rope_table(Rope(10000.0, 8, True), 100)
    assert table.shape == (100, 4, 2)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[7, 2], [np.cos(0.07), np.sin(0.07)], rtol=1e-6)
    np.testing.assert_array_equal(table[0], [[1, 0]] * 4)


def test_linear_scaling_stretches_positions():
    plain = rope_table(Rope(10000.0, 8, True), 10)
    stretched = rope_table(Rope(10000.0, 8, True, kind="linear", factor=2.0), 20)
    np.testing.assert_allclose(stretched[::2], plain, rtol=1e-6)


def test_llama3_divisors_slow_the_frequencies_they_name():
    divisors = np.array([1.0, 1.0, 4.0, 8.0])
    table, plain = rope_table(Rope(10000.0, 8, True), 64, divisors), rope_table(Rope(10000.0, 8, True), 64)
    np.testing.assert_array_equal(table[:, :2], plain[:, :2])
    np.testing.assert_allclose(table[::8, 3], plain[:8, 3], rtol=1e-6)


def test_llama3_scaling_as_numbers():
    """Llama 3.2 1B's. Waves shorter than 2,048 positions stay, those longer than 8,192 become 32 times as long."""
    rope = Rope(500000.0, 64, True, kind="llama3", factor=32.0, original_context=8192)
    table, plain = rope_table(rope, 3200), rope_table(replace(rope, kind="none"), 3200)
    angles, before = (np.arctan2(t[1, :, 1].astype(float), t[1, :, 0]) for t in (table, plain))
    longer = before / angles
    np.testing.assert_allclose(longer[[0, 14, 18, 31]], [1, 1, 32, 32], rtol=1e-5)
    smooth = (8192 / (2 * np.pi * 500000**0.5) - 1) / 3  # of pair 16, of a wave of 4,443
    assert longer[16] == pytest.approx(1 / (smooth + (1 - smooth) / 32), rel=1e-4)


def test_longrope_reads_its_factor_from_the_contexts():
    config = read(**{"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 4096})
    rope = config.attention[0].rope
    assert rope.factor == 2
    assert rope.attention_factor == pytest.approx((1 + np.log(2) / np.log(4096)) ** 0.5)


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones():
    rope = Rope(10000.0, 128, True, kind="yarn", factor=4.0, original_context=4096)
    table, plain = rope_table(rope, 16), rope_table(Rope(10000.0, 128, True), 16)
    magnitude = 1 + 0.1 * np.log(4.0)
    np.testing.assert_allclose(table[:, 0], plain[:, 0] * magnitude, rtol=1e-6)
    np.testing.assert_allclose(table[::4, 63], plain[:4, 63] * magnitude, rtol=1e-5)
