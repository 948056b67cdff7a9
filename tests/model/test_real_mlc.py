"""SmolLM2-135M-Instruct packed as MLC's q4f16_1: it still speaks, and loses just what its 4 bits cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from local_llm import LocalLLM
from tests.conftest import wait
from tests.model.test_real import MARGIN, perplexity, reference
from tests.reference import llama
from tests.reference.folders import from_mlc, write_mlc
from tests.unit.service_rig import Shelf

TEXT = Path(__file__).with_name("english.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packed(host, tmp_path_factory):
    """The service with the packed model; metadata and float32 values of its weights."""
    metadata, tensors = reference()
    folder = tmp_path_factory.mktemp("mlc") / "SmolLM2-135M-Instruct-q4f16_1-MLC"
    values = from_mlc(metadata, write_mlc(folder, metadata, tensors, "q4f16_1", shards=4))
    service = LocalLLM(replace(host, store=Shelf()))
    wait(service.init(str(folder), context_size=256))
    yield service, metadata, values
    wait(service.unload())


async def test_logits_and_perplexity_are_those_of_its_weights(packed):
    service, metadata, values = packed
    ids = service.encode(TEXT)[:40]
    got, wanted = await service.logits(ids), llama.forward(metadata, values, ids)
    best = np.sort(wanted, -1)
    clear = best[:, -1] - best[:, -2] > MARGIN
    np.testing.assert_array_equal(got.argmax(-1)[clear], wanted.argmax(-1)[clear])
    assert abs(perplexity(got, ids) / perplexity(wanted, ids) - 1) < 0.001


async def test_it_speaks(packed):
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    reply = await packed[0].chat(messages, max_tokens=24)
    assert "Paris" in reply.text
    assert reply.finish_reason == "stop"
