"""Our numpy decoders and random blocks against the gguf package, whose layouts are the format's own."""

import gguf
import numpy as np
import pytest

from tests.reference import quant

TYPES = {name: gguf.GGMLQuantizationType[name.upper()] for name in (*quant.FORMATS, *quant.FURTHER_FORMATS)}
COLS = 768


@pytest.mark.parametrize("format", TYPES)
def test_decode_equals_gguf(format):
    data = quant.random_weights(np.random.default_rng(1), format, 7, COLS)
    assert data.shape == (7, quant.row_bytes(format, COLS))
    expected = gguf.quants.dequantize(data, TYPES[format]).reshape(7, COLS)
    np.testing.assert_array_equal(quant.decode(format, data), expected)
    assert np.isfinite(expected).all()
    assert 0.3 < np.std(expected) < 3


@pytest.mark.parametrize("format", quant.BLOCK_BYTES)
def test_sizes_equal_gguf(format):
    assert gguf.GGML_QUANT_SIZES[TYPES[format]] == (quant.block_weights(format), quant.BLOCK_BYTES[format])
