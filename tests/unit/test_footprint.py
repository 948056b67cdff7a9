"""What the catalogue says of sizes, held against real files and against the ledger of loaded models."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from local_llm.catalog import built_in
from local_llm.footprint import Shapes, cache_bytes, file_bytes, gpu_bytes, stored, tensor_types
from local_llm.formats.quant import BY_NAME
from local_llm.models.model import MAX_CHUNK
from tests.model.tiny import tiny_tokens, write_tiny_gguf
from tests.unit.service_rig import Bench

TINY = Shapes(layers=3, width=256, heads=4, kv_heads=2, head_width=64, ffn_width=512, vocab=len(tiny_tokens()))
QWEN = Shapes(24, 896, 14, 2, 64, 4864, 151936, vectors=71552)


@pytest.mark.parametrize("entry", [e for e in built_in().entries if e.download_bytes], ids=lambda entry: entry.id)
def test_sizes_of_real_files_follow_from_their_shapes(entry):
    header = entry.download_bytes - entry.estimated_bytes
    assert 1 << 20 < header < 9 << 20, "the tensors' bytes and a header with the vocabulary"


def test_mlcs_sizes_follow_too():
    assert file_bytes(QWEN, "q4f16_1") == pytest.approx(277_996_288, rel=0.001)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
@pytest.mark.parametrize("tied", [True, False])
async def test_gpu_bytes_are_those_of_the_ledger(tmp_path, kind, tied):
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path, width=256, layers=3, head_width=64, ffn=512, types=kind, context=8192, tied=tied)
    service = Bench(tmp_path).service()
    vectors = TINY.layers * 2 * TINY.width + TINY.width
    for context in (100, 2048, 8192):
        await service.init("tiny", context_size=context)
        assert service._loaded is not None
        chunk = service._loaded.model.max_chunk
        told = gpu_bytes(replace(TINY, tied=tied, vectors=vectors), kind, context, chunk)
        assert told == pytest.approx(service.status()["gpu_bytes"], rel=0.005)


def test_layers_with_a_window_keep_little():
    windowed = replace(TINY, layers=6, window=512, global_every=6)
    assert cache_bytes(replace(TINY, layers=6), 8192) == 6 * 8192 * 2 * 2 * 128
    assert cache_bytes(windowed, 8192) == (5 * (512 + MAX_CHUNK) + 8192) * 2 * 2 * 128
    assert cache_bytes(windowed, 256) == cache_bytes(replace(TINY, layers=6), 256)
    assert cache_bytes(replace(windowed, encoder=True), 256) == 0


def test_mixtures_are_llama_cpps():
    deep = replace(TINY, layers=8, ffn_width=1024)  # layers 0, 3, 6 and 7 have more bits

    found: Counter[tuple[str, int, int]] = Counter()
    for kind, rows, cols, count in stored(deep, "Q4_K_M"):
        found[kind, rows, cols] += count
    assert found == {
        ("Q6_K", deep.vocab, 256): 1,
        ("Q4_K", 256, 256): 16,
        ("Q4_K", 128, 256): 12,
        ("Q6_K", 128, 256): 4,
        ("Q4_K", 1024, 256): 16,
        ("Q4_K", 256, 1024): 4,
        ("Q6_K", 256, 1024): 4,
    }
    assert tensor_types(replace(TINY, fused_qkv=True), "Q4_K_M") == ("Q4_K", "Q5_K", "Q6_K")
    assert tensor_types(QWEN, "Q4_K_M") == ("Q4_K", "Q5_0", "Q6_K", "Q8_0")
    assert tensor_types(QWEN, "Q8_0") == ("Q8_0",)
    assert tensor_types(TINY, "Q4_0") == ("Q4_0", "Q6_K")
    assert tensor_types(replace(TINY, tied=False), "q4f16_1") == ("q4f16_1",)


def test_every_type_that_is_told_exists():
    for entry in built_in().entries:
        assert set(entry.types) <= BY_NAME.keys()


def test_more_context_takes_more():
    for entry in built_in().entries:
        sizes = [size for context in (2048, 4096, 8192) if (size := entry.gpu_bytes(context)) is not None]
        assert len(sizes) == 3
        assert sizes == sorted(sizes)
        assert entry.shapes is not None
        if entry.context >= 8192:
            grown = cache_bytes(entry.shapes, 8192) - cache_bytes(entry.shapes, 2048)
            assert 0 <= sizes[2] - sizes[0] - grown < 16 << 20
