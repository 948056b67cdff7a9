"""A long prompt on a tiny model with windows, whose rings begin anew many times, against the numpy forward pass."""

import numpy as np
import pytest

from tests.model.golden import load_golden
from tests.reference import gemma3, tolerance
from tests.reference.convert import converted, metadata, write_converted

LONG = 4096
PATTERN = {"gemma3.attention.sliding_window_pattern": 2}


@pytest.fixture
def windowed(tmp_path):
    """Two layers, the first with a window of 64; the file's metadata and tensors besides."""
    golden = load_golden("gemma3")
    config = {**golden.config, "num_hidden_layers": 2, "sliding_window": 64, "max_position_embeddings": LONG}
    weights = {
        key: values for key, values in golden.weights.items() if not any(f".layers.{n}." in key for n in range(2, 7))
    }
    tensors = converted("gemma3", config, weights)
    values = {f"gemma3.{key}": value for key, value in metadata("gemma3", config).items()} | PATTERN
    return write_converted(tmp_path / "long.gguf", config, weights, "F32", PATTERN), values, tensors


def test_the_reference_is_hugging_faces():
    golden = load_golden("gemma3")
    values = {f"gemma3.{key}": value for key, value in metadata("gemma3", golden.config).items()}
    got = gemma3.forward(values, converted("gemma3", golden.config, golden.weights), golden.ids)
    np.testing.assert_allclose(got, golden.logits, rtol=1e-3, atol=1e-3)


async def test_4096_tokens_go_far_past_the_window(llm, windowed):
    path, values, tensors = windowed
    ids = [(37 * i + i * i // 7 + 11) % 286 for i in range(LONG)]
    wanted = gemma3.forward(values, tensors, ids, stored=np.float16)
    await llm.init(str(path), context_size=LONG)
    rings = [heads for heads in llm._require().model.heads if heads.ring]
    assert [heads.context for heads in rings] == [64 + 256]
    got = await llm._require().engine.logits(ids, 256)
    np.testing.assert_allclose(got, wanted, **tolerance.MODEL)
    for count in (1500, 1000):  # the second a prefix of the first, which the ring no longer holds
        reply = await llm.complete(ids[:count], max_tokens=1, ignore_eos=True)
        assert reply.usage.cached_tokens == 0
        assert reply.token_ids[0] == wanted[count - 1].argmax()
