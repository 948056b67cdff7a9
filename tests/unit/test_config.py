import numpy as np
import pytest

from local_llm.errors import CorruptModel, UnsupportedModel
from local_llm.models.config import Rope, read_config, rope_table

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


def read(**changes):
    values = {**META, **{f"llama.{key}": value for key, value in changes.items()}}
    return read_config("tiny.gguf", {k: v for k, v in values.items() if v is not None}, 49152, interleaved=True)


def test_shapes_of_smollm2():
    config = read()
    assert (config.layers, config.width, config.heads, config.kv_heads, config.head_width) == (30, 576, 9, 3, 64)
    assert (config.q_rows, config.kv_rows, config.context) == (576, 192, 8192)
    assert config.rope == Rope(1e5, 64, True, original_context=8192)


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
    ],
)
def test_metadata_that_makes_no_sense_is_named(key, value, says):
    with pytest.raises(CorruptModel, match=says):
        read(**{key: value})


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


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones():
    rope = Rope(10000.0, 128, True, kind="yarn", factor=4.0, original_context=4096)
    table, plain = rope_table(rope, 16), rope_table(Rope(10000.0, 128, True), 16)
    magnitude = 1 + 0.1 * np.log(4.0)
    np.testing.assert_allclose(table[:, 0], plain[:, 0] * magnitude, rtol=1e-6)
    np.testing.assert_allclose(table[::4, 63], plain[:4, 63] * magnitude, rtol=1e-5)
