"""The catalogue: what is offered, what of it can be loaded, and what happens to a name that is not in it."""

from __future__ import annotations

import json

import pytest

from local_llm.catalog import Catalog, built_in, nearest, read_catalog, stem
from local_llm.errors import InvalidRequest, UnknownModel

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
    assert {"Qwen", "Phi", "Llama", "Gemma", "SmolLM"} <= {entry.family for entry in catalog.entries}
    for entry in catalog.entries:
        assert entry.id == stem(entry.urls[0]), "the loaded model and its entry have the same name"
        assert entry.parameters > 1e8
        assert entry.context >= 4096
        assert entry.licence
        if entry.download_bytes:
            assert entry.estimated_bytes == pytest.approx(entry.download_bytes, rel=0.4)  # narrow models need more bits
        if "/" in entry.urls[0].removeprefix("models/"):
            assert entry.urls[0].startswith("https://huggingface.co/")
            assert "/resolve/main/" in entry.urls[0]


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
    ],
)
def test_stem(url, name):
    assert stem(url) == name
