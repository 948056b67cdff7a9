"""Real weights beside the default model's: Gemma 3 270M (Q4_K_M) against numpy, MiniLM against Hugging Face."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.model.conftest import EXTRA
from tests.model.test_real import TEXT, perplexity
from tests.reference import gemma3

PARTS = [EXTRA / f"gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)]
TOKENS = 64
MARGIN = 0.1
MINILM = json.loads((Path(__file__).with_name("golden") / "encoders" / "minilm.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """The file, put together from its parts."""
    path = tmp_path_factory.mktemp("gemma") / "gemma-3-270m-q4_k_m.gguf"
    with path.open("wb") as file:
        for part in PARTS:
            file.write(part.read_bytes())
    yield path
    path.unlink()


async def test_gemma_3_perplexity_and_greedy_choices(llm, gemma):
    """Q8_0, Q5_0, Q4_K and Q6_K in one file; a SentencePiece vocabulary of 262,144."""
    await llm.init(str(gemma), context_size=512)
    ids = llm.encode(TEXT)[:TOKENS]
    assert ids[0] == 2  # BOS
    got = await llm.logits(ids)
    wanted = gemma3.forward(*gemma3.load(gemma), ids)
    best = np.sort(wanted, -1)
    clear = best[:, -1] - best[:, -2] > MARGIN
    assert clear.sum() > TOKENS * 0.8
    np.testing.assert_array_equal(got.argmax(-1)[clear], wanted.argmax(-1)[clear])
    assert abs(perplexity(got, ids) / perplexity(wanted, ids) - 1) < 0.001


async def test_minilm_vectors(llm):
    """From a safetensors folder, tokenizer and all; the truth was computed once, by make_golden.py."""
    await llm.init(str(EXTRA / "all-MiniLM-L6-v2"))
    got = await llm.embed(MINILM["texts"])
    wanted = np.array(MINILM["vectors"], np.float32)
    assert got.shape == wanted.shape == (len(MINILM["texts"]), 384)
    assert (np.sum(got * wanted, -1) > 0.9999).all()
    assert got[0] @ got[1] > 0.6 > 0.3 > got[0] @ got[2]  # a paraphrase, and another matter
