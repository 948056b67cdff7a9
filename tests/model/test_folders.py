"""A tiny model as a Hugging Face and as an MLC folder answers as the same weights in a GGUF do."""

import numpy as np
import pytest

from local_llm.errors import CorruptModel, DownloadFailed, InvalidRequest
from tests.model.tiny import write_tiny_gguf
from tests.reference import tolerance
from tests.reference.folders import from_mlc, rounded, write_huggingface, write_mlc
from tests.reference.gguf_writer import store, write_gguf

IDS = [5, 60, 7, 120, 33, 200, 9, 4]


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_gguf(tmp_path / "tiny.gguf", tied=False)


async def logits(llm, source, **options):
    await llm.init(source, **options)
    return await llm.logits(IDS)


async def expected(llm, tiny, tensors):
    """Logits of the same model with these float32 values, from a GGUF."""
    path = tiny.path.with_name("expected.gguf")
    write_gguf(path, tiny.metadata, {name: store(values, "F32") for name, values in tensors.items()})
    return await logits(llm, str(path))


@pytest.mark.parametrize(("dtype", "files"), [("F32", 1), ("F16", 3), ("BF16", 1)])
async def test_safetensors(llm, tiny, tmp_path, dtype, files):
    folder = write_huggingface(tmp_path / "model", tiny.metadata, tiny.tensors, dtype, files=files)
    wanted = await expected(llm, tiny, {name: rounded(values, dtype) for name, values in tiny.tensors.items()})
    np.testing.assert_allclose(await logits(llm, str(folder)), wanted, **tolerance.MODEL)
    assert llm.status()["model"] == "model"
    reply = await llm.chat([{"role": "user", "content": "the cat"}], max_tokens=3)
    assert reply.usage.prompt_tokens > 5


@pytest.mark.parametrize("name", ["q4f16_1", "q4f32_1", "q4f16_0", "q3f16_1", "q0f16", "q0f32"])
async def test_mlc(llm, tiny, tmp_path, name):
    cache = "ndarray-cache.json" if name == "q4f16_1" else "tensor-cache.json"
    kept = write_mlc(tmp_path / "model", tiny.metadata, tiny.tensors, name, cache=cache)
    wanted = await expected(llm, tiny, from_mlc(tiny.metadata, kept))
    np.testing.assert_allclose(await logits(llm, str(tmp_path / "model")), wanted, **tolerance.MODEL)
    reply = await llm.chat([{"role": "user", "content": "the cat"}], max_tokens=3)
    assert reply.usage.prompt_tokens > 5


@pytest.mark.parametrize(("bits", "least"), [(8, 0.999), (4, 0.9)])
async def test_quantized_while_loading(llm, tiny, tmp_path, bits, least):
    """Matrices shrink to what their bits say and answer much the same."""
    folder = write_huggingface(tmp_path / "model", tiny.metadata, tiny.tensors, "BF16")
    plain = await logits(llm, str(folder))
    held = llm.status()["gpu_bytes"]
    quantized = await logits(llm, str(folder), quantize=bits)
    assert least < np.corrcoef(plain.ravel(), quantized.ravel())[0, 1] < 0.99999
    inside, ends = (
        sum(v.size for n, v in tiny.tensors.items() if v.ndim > 1 and n.startswith("blk.") is layers)
        for layers in (True, False)
    )
    saved = held - llm.status()["gpu_bytes"]
    assert saved == pytest.approx(inside * (16 - bits - 0.5) / 8 + ends * 7.5 / 8, abs=500)  # buffers are rounded
    with pytest.raises(InvalidRequest, match="8 or 4"):
        await llm.init(str(folder), quantize=5)


async def test_a_shard_that_is_missed_in_the_middle_of_a_load_is_named_and_nothing_stays(llm, tiny, tmp_path, counted):
    write_mlc(tmp_path / "model", tiny.metadata, tiny.tensors, "q4f16_1")
    shard = tmp_path / "model" / "params_shard_1.bin"
    whole = shard.read_bytes()
    held = counted.nbytes
    for left, error in ((whole[:-1], CorruptModel), (None, DownloadFailed)):
        shard.unlink()
        if left is not None:
            shard.write_bytes(left)
        with pytest.raises(error, match=r"params_shard_1\.bin"):
            await llm.init(str(tmp_path / "model" / "mlc-chat-config.json"))
        assert counted.nbytes == held
        assert llm.status()["gpu_bytes"] == 0
