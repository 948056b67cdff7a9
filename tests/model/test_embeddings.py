"""Texts to vectors: encoders against Hugging Face transformers, decoders against their own states."""

import numpy as np
import pytest

from local_llm.errors import ContextOverflow, InvalidRequest, UnsupportedModel
from tests.model.golden import load_golden
from tests.model.tiny import write_tiny_gguf
from tests.reference import tolerance
from tests.reference.convert import tokenizer_metadata, write_converted
from tests.reference.folders import encode_safetensors, write_json, write_tokenizer


def encoder(tmp_path, pooling=None):
    golden = load_golden("encoders/bert")
    extra = {} if pooling is None else {"bert.pooling_type": pooling}
    path = write_converted(tmp_path / "bert.gguf", golden.config, golden.weights, "F32", extra)
    return golden, path


def of_length_1(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", [None, 2, 3])
async def test_an_encoder(llm, tmp_path, pooling):
    golden, path = encoder(tmp_path, pooling)
    await llm.init(str(path))
    (got,) = await llm._require().engine.embed([golden.ids])
    wanted = {None: golden.logits.mean(0), 2: golden.logits[0], 3: golden.logits[-1]}[pooling]
    np.testing.assert_allclose(got, of_length_1(wanted), **tolerance.MODEL)
    assert got @ of_length_1(wanted) > 0.9999


async def test_an_encoder_with_windows_to_both_sides(llm, tmp_path):
    golden = load_golden("encoders/gemma_embedding")
    await llm.init(str(write_converted(tmp_path / "gemma.gguf", golden.config, golden.weights, "F32")))
    (got,) = await llm._require().engine.embed([golden.ids])
    first, second = golden.weights["dense_2.weight"], golden.weights["dense_3.weight"]
    wanted = of_length_1(second @ (first @ golden.logits.mean(0)))
    np.testing.assert_allclose(got, wanted, **tolerance.MODEL)
    assert got @ wanted > 0.9999


async def test_an_encoder_without_its_last_matrices_is_refused(llm, tmp_path):
    golden = load_golden("encoders/gemma_embedding")
    weights = {name: values for name, values in golden.weights.items() if not name.startswith("dense_")}
    with pytest.raises(UnsupportedModel, match="dense_2"):
        await llm.init(str(write_converted(tmp_path / "gemma.gguf", golden.config, weights, "F32")))


async def test_a_folder_that_says_how_it_pools(llm, tmp_path):
    golden = load_golden("encoders/bert")
    write_json(tmp_path / "config.json", golden.config)
    write_tokenizer(tmp_path, tokenizer_metadata())
    (tmp_path / "model.safetensors").write_bytes(encode_safetensors(golden.weights, "F32"))
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    await llm.init(str(tmp_path))
    (got,) = await llm._require().engine.embed([golden.ids])
    np.testing.assert_allclose(got, of_length_1(golden.logits[0]), **tolerance.MODEL)


async def test_the_kernels_for_gpus(gpu_llm, tmp_path):
    golden, path = encoder(tmp_path)
    await gpu_llm.init(str(path))
    got = await gpu_llm._require().engine.embed([golden.ids, golden.ids[:1]])
    np.testing.assert_allclose(got[0], of_length_1(golden.logits.mean(0)), **tolerance.MODEL)
    assert got[1] @ got[1] == pytest.approx(1, abs=1e-5)


async def test_an_encoder_says_that_it_makes_no_text(llm, tmp_path):
    _, path = encoder(tmp_path)
    await llm.init(str(path))
    with pytest.raises(InvalidRequest, match=r"embeddings.*embed\(\)"):
        await llm.complete([5, 6, 7])
    with pytest.raises(InvalidRequest, match=r"embed\(\)"):
        await llm.logits([5, 6, 7])
    assert (await llm.embed("hello")).shape == (1, 64)


async def test_a_decoder_gives_its_last_state_after_the_last_norm(llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 14, context=600)
    await llm.init(str(tiny.path))
    text = "the answer is " * 60
    vectors = await llm.embed([text, "and another one"])
    assert len(llm.encode(text)) > 256  # more than one chunk
    for vector, words in zip(vectors, (text, "and another one"), strict=True):
        assert vector @ vector == pytest.approx(1, abs=1e-5)
        logits = (await llm.logits(llm.encode(words)))[-1]  # the head's product with that state
        assert of_length_1(tiny.tensors["token_embd.weight"] @ vector) @ of_length_1(logits) > 0.99999
    assert vectors[0] @ vectors[1] < 0.99


async def test_a_generation_after_an_embedding_begins_anew(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 15).path))
    first = await llm.complete([5, 6, 7, 8], max_tokens=4, ignore_eos=True)
    await llm.embed("something else")
    again = await llm.complete([5, 6, 7, 8], max_tokens=4, ignore_eos=True)
    assert again.token_ids == first.token_ids
    assert again.usage.cached_tokens == 0


async def test_bad_requests(llm, tmp_path):
    _, path = encoder(tmp_path)
    await llm.init(str(path))
    with pytest.raises(InvalidRequest, match="Pooling"):
        await llm.embed("hello", pooling="max")
    with pytest.raises(ContextOverflow, match="takes 64"):
        await llm.embed("word " * 100)
    assert (await llm.embed([])).shape == (0, 64)
