"""The catalogue: what is offered, what of it can be loaded, and what happens to a name that is not in it."""

from __future__ import annotations

import json

import pytest

from local_llm.catalog import Catalog, built_in, nearest, read_catalog, stem
from local_llm.errors import InvalidRequest, UnknownModel
from local_llm.gpu.ports import Kept
from tests.model.tiny import tiny_tokens, write_tiny_gguf
from tests.unit.service_rig import Bench

SMOL = "SmolLM2-135M-Instruct.Q4_1"


def test_the_default_is_the_model_beside_the_page():
    entry = built_in().default
    assert entry is not None
    assert entry.id == SMOL
    assert entry.urls == ("models/SmolLM2-135M-Instruct.Q4_1.gguf",)
    assert entry.download_bytes == 98_362_432
    assert entry.sha256 is not None
    assert entry.sha256.startswith("b179c952")
    assert entry.sha256.endswith("db53")


def test_every_preset_is_sound():
    catalog = built_in()
    families = {"Qwen", "Phi", "Llama", "Gemma", "SmolLM", "DeepSeek", "Granite", "OLMo", "Embedding"}
    assert families == {entry.family for entry in catalog.entries}
    for entry in catalog.entries:
        assert entry.id == stem(entry.urls[0]), "the loaded model and its entry have the same name"
        assert entry.use in ("chat", "code", "reasoning", "embedding")
        assert entry.context >= (512 if entry.use == "embedding" else 4096)
        assert entry.licence
        assert entry.shapes is not None
        assert 0 < entry.shapes.vectors < 0.02 * entry.parameters, "parameters and shapes belong together"
        assert entry.sha256 is None or len(entry.sha256) == 64
        assert entry.sha256 is None or "/main/" not in entry.urls[0], "what is checked must not change"
        if "/" in entry.urls[0].removeprefix("models/"):
            assert entry.urls[0].startswith("https://huggingface.co/")
            assert "/resolve/" in entry.urls[0]


def test_relative_addresses_count_from_the_site():
    entry = built_in("https://example.org/app/").default
    assert entry is not None
    assert entry.urls[0] == "https://example.org/app/models/SmolLM2-135M-Instruct.Q4_1.gguf"


def one(**fields) -> Catalog:
    return read_catalog(json.dumps({"models": [{"url": "a/b.gguf", **fields}]}))


def test_support_follows_families_and_formats():
    assert one(architecture="llama", quantization="Q8_0").entries[0].reason == ""
    assert "mamba" in one(architecture="mamba", quantization="Q8_0").entries[0].reason
    assert "IQ1_S" in one(architecture="llama", quantization="IQ1_S").entries[0].reason
    assert "TQ1_0" in one(quantization="Q8_0", tensor_types=["F32", "TQ1_0"]).entries[0].reason
    described = one(architecture="mamba").entries[0].description
    assert described["supported"] is False
    assert "mamba" in described["reason"]


SHAPE = {"layers": 2, "width": 256, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn_width": 512, "vocab": 1000}


def test_a_page_may_tell_shapes():
    entry = one(quantization="Q8_0", parameters=1_600_000, shape=SHAPE).entries[0]
    assert entry.shapes is not None
    assert entry.shapes.parameters == 1_600_000
    assert entry.description["gpu_bytes"]["2048"] > entry.estimated_bytes
    assert json.loads(json.dumps(entry.description))["shapes"]["layers"] == 2
    named = read_catalog(json.dumps({"shapes": {"s": SHAPE}, "models": [{"url": "a.gguf", "shape": "s"}]})).entries[0]
    assert named.shapes is not None
    assert one().entries[0].description["gpu_bytes"] == {"2048": None, "4096": None, "8192": None}


def test_what_fits_is_told_only_where_it_is_known():
    entry = one(quantization="Q8_0", parameters=1_600_000, shape=SHAPE).entries[0]
    needed = entry.gpu_bytes(4096)
    assert needed is not None
    assert [entry.fits(limit) for limit in (None, needed - 1, needed)] == [None, False, True]
    assert [entry.fits(None, held) for held in (needed - 1, needed)] == [None, True]
    assert one().entries[0].fits(1) is None


def test_what_is_stored_is_marked():
    file, folder = one().entries[0], one(url="https://h/m/resolve/main/").entries[0]
    assert file.is_cached({"a/b.gguf"})
    assert not file.is_cached({"a/b.gguf2"})
    assert folder.is_cached({"https://h/m/resolve/main/params_shard_0.bin"})
    assert not folder.is_cached({"https://h/m2/resolve/main/params_shard_0.bin"})


# WebLLM's ids

WEBLLM = {
    "Qwen2.5-Coder-1.5B-Instruct-q4f16_1-MLC": ("qwen2", "q4f16_1", None),
    "Llama-3.1-8B-Instruct-q4f32_1-MLC-1k": ("llama", "q4f32_1", 1024),
    "SmolLM2-135M-Instruct-q0f16-MLC": ("llama", "q0f16", None),
    "gemma3-1b-it-q4f16_1-MLC": ("gemma3", "q4f16_1", None),
    "snowflake-arctic-embed-s-q0f32-MLC-b4": ("", "q0f32", None),
    "Llama-3-70B-Instruct-q3f16_1-MLC": ("", "q3f16_1", None),
    "DeepSeek-R1-Distill-Qwen-1.5B-q4f16_1-MLC": ("qwen2", "q4f16_1", None),
}


@pytest.mark.parametrize("model", WEBLLM)
def test_webllms_ids_resolve(model):
    architecture, quantization, context_size = WEBLLM[model]
    entry = built_in().find(model)
    assert (entry.id, entry.architecture, entry.quantization) == (model, architecture, quantization)
    assert entry.context_size == context_size
    folder = model.removesuffix("-1k").removesuffix("-b4")
    assert entry.urls == (f"https://huggingface.co/mlc-ai/{folder}/resolve/main/",)
    assert stem(entry.urls[0]) == folder
    assert entry.reason == ""
    assert (entry.sha256, entry.download_bytes) == (None, None)


def test_each_of_webllms_ids_resolves_and_none_is_listed():
    catalog = built_in()
    assert len(catalog.mlc_ids) == 139
    for model in catalog.mlc_ids:
        assert catalog.find(model.lower()).id == model
    assert not set(catalog.mlc_ids) & set(catalog.ids)
    for entry in catalog.entries:
        assert not entry.mlc or entry.mlc in catalog.mlc


def test_sizes_of_webllms_models_are_known():
    entry = built_in().find("Qwen2.5-0.5B-Instruct-q4f16_1-MLC")
    assert entry.estimated_bytes == pytest.approx(277_996_288, rel=0.001)
    assert entry.fits(200_000_000) is False


def test_ids_that_webllm_does_not_have_are_unknown():
    for model in ("Qwen2.5-Coder-1.5B-Instruct-q3f16_1-MLC", "Qwen9-q4f16_1-MLC", "Qwen3-0.6B-q4f16_1-MLC-x"):
        with pytest.raises(UnknownModel):
            built_in().find(model)
    with pytest.raises(UnknownModel) as caught:
        built_in().find("Qwen2.5-Codr-1.5B-Instruct-q4f16_1-MLC")
    assert "Qwen2.5-Coder-1.5B-Instruct-q4f16_1-MLC" in caught.value.remedy


def test_other_entries_leave_webllms_ids():
    assert built_in().with_first(one().entries).get("Qwen3-0.6B-q4f16_1-MLC") is not None


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(UnknownModel) as caught:
        built_in().find("SmolLM2-135M-Instruct.Q4")
    assert SMOL in caught.value.remedy
    with pytest.raises(UnknownModel) as caught:
        built_in().find("zzzz")
    assert "Known ids" in caught.value.remedy


def test_letter_case_does_not_matter():
    assert built_in().find(SMOL.upper()).id == SMOL


def test_nearest_finds_parts_of_names():
    assert nearest("135m", ["Gemma", SMOL]) == [SMOL]
    assert nearest("Gema", ["Gemma", SMOL]) == ["Gemma"]
    assert nearest("xyz", ["Gemma"]) == []


def test_other_entries_come_first_and_replace_ours():
    merged = built_in().with_first(one(id=SMOL.lower(), name="Mine").entries)
    assert merged.entries[0].name == "Mine"
    assert sum(entry.id.lower() == SMOL.lower() for entry in merged.entries) == 1
    assert len(merged.entries) == len(built_in().entries)


def test_addresses_of_a_fetched_catalogue_count_from_it():
    text = json.dumps([{"url": "m/x.gguf"}, {"id": "far", "url": "https://other.example/y.gguf"}])
    catalog = read_catalog(text, "https://example.org/lists/catalog.json")
    assert [entry.urls[0] for entry in catalog.entries] == [
        "https://example.org/lists/m/x.gguf",
        "https://other.example/y.gguf",
    ]
    assert catalog.ids == ["x", "far"]


@pytest.mark.parametrize(
    "text",
    [
        "<html>",
        "3",
        '{"models": 3}',
        '{"models": ["x"]}',
        '{"models": [{"id": "x"}]}',
        '{"models": [{"url": "a.gguf", "parameters": "many"}]}',
        '{"models": [{"url": "a.gguf", "download_bytes": true}]}',
        '{"models": [{"urls": [3]}]}',
        '{"models": [{"url": "a.gguf"}, {"url": "b/A.gguf"}]}',
        '{"models": [{"url": "a.gguf", "shape": "unknown"}]}',
        '{"models": [{"url": "a.gguf", "shape": {"layers": 3}}]}',
        '{"models": [{"url": "a.gguf", "shape": 7}]}',
        '{"models": [], "shapes": 3}',
        '{"models": [], "mlc": []}',
        "[" * 100000,
    ],
)
def test_a_catalogue_that_does_not_fit_is_refused(text):
    with pytest.raises(InvalidRequest):
        read_catalog(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("models/a.gguf", "a"),
        ("https://h/x/b.c.gguf?download=true", "b.c"),
        ("C:\\m\\d.gguf", "d"),
        ("plain", "plain"),
        ("https://huggingface.co/mlc-ai/Qwen3-0.6B-q4f16_1-MLC/resolve/main/", "Qwen3-0.6B-q4f16_1-MLC"),
        ("models/folder/", "folder"),
    ],
)
def test_stem(url, name):
    assert stem(url) == name


async def test_a_page_adds_models_and_sees_what_fits_and_what_is_stored(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    service = Bench(tmp_path).service()
    shape = {**SHAPE, "vocab": len(tiny_tokens())}
    mine = {"id": "mine", "url": "tiny.gguf", "quantization": "F32", "shape": shape, "context_size": 64}
    assert service.add_models([mine]) == ["mine"]
    first = service.available_models()[0]
    assert (first["id"], first["fits"], first["cached"]) == ("mine", None, False)
    await service.set_memory_budget(1000)
    service.keeping.models = (Kept("tiny.gguf", 8, 8, whole=True, used_at=1),)
    first = service.available_models()[0]
    assert (first["fits"], first["cached"]) == (False, True)
    await service.init("mine")
    assert (await service.runtime_info())["context_size"] == 64
    await service.init("mine", context_size=32)
    assert (await service.runtime_info())["context_size"] == 32
    with pytest.raises(InvalidRequest, match="'url'"):
        service.add_models([{"id": "x"}])
