"""Products that leave their results rounded for the next in a model: near exact ones, with drafts, tested by itself."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm import LocalLLM, soundness
from local_llm.gpu.memory import Memory
from local_llm.models import agreement, weights
from local_llm.models.expected_left import left_right
from local_llm.models.few import few_layers
from local_llm.models.links import Links, links
from local_llm.models.proof import case_names, wrong_kernels
from local_llm.ops import variants
from tests.kernels.test_leaving import left
from tests.model.posing import posing
from tests.model.test_proof import HELLO, Miscompiling, as_device
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Shelf

IDS = list(range(3, 43))
RULE = variants._matvec_rule
BITS = pytest.mark.parametrize("bits", [8, 16])  # with 16, q, k and v are multiplied in attention's launch


@pytest.fixture(autouse=True)
def all_take_what_is_left(monkeypatch):
    """Also by products of tiny matrices."""

    def taking(caps, shape):
        return next(variants._taking_left(shape)) if shape.int8 and not caps.software else RULE(caps, shape)

    monkeypatch.setattr(variants, "LEAST_INT8_COLS", 32)
    monkeypatch.setattr(variants, "_matvec_rule", taking)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaving")
    return str(write_tiny_gguf(folder / "tiny.gguf", 1, layers=3, types="Q4_0", context=256).path)


def taken(calls):
    """Names of the kernels that take what was left."""
    return [call.kernel.name for call in calls if "left_rows" in dict(call.kernel.includes).values()]


@BITS
async def test_every_link_is_used_by_plain_steps_and_by_those_of_a_few_tokens(gpu_llm, path, bits):
    await gpu_llm.init(path, cache_bits=bits)
    model = gpu_llm._loaded.model
    layer = ["matvec_glu", "matvec"]
    expected = [*layer, *(["matvec"] * (bits == 8) + layer) * 2]
    assert taken(model.family.layers(model, 1)) == expected
    assert taken(few_layers(model, 4)) == [name.replace("matvec", "matvec_few") for name in expected]
    assert not taken(model.family.head(model, model.scratch.x, 1, model.scratch.x))
    off = replace(model, shared=replace(model.shared, rounded=None))
    assert links(off) == [Links()] * 3
    assert not taken(model.family.layers(off, 1))


@BITS
async def test_logits_are_no_farther_from_exact_ones(gpu_llm, path, bits, monkeypatch):
    """Than where each product rounds its input itself, 32 numbers with a scale."""
    logits = {}
    for mode in ("auto", "off"):
        await gpu_llm.init(path, int8=mode, cache_bits=bits)
        logits[mode] = await gpu_llm._loaded.engine.logits(IDS, 1)
    monkeypatch.setattr(variants, "_matvec_rule", RULE)
    await gpu_llm.init(path, cache_bits=bits)
    logits["apart"] = await gpu_llm._loaded.engine.logits(IDS, 1)
    errors = {mode: np.linalg.norm(logits[mode] - logits["off"]) for mode in ("auto", "apart")}
    assert 0.01 < errors["auto"] / np.linalg.norm(logits["off"]) < 0.05
    assert errors["auto"] < errors["apart"]


@pytest.mark.parametrize(("width", "ffn"), [(32, 32), (96, 160)])
async def test_a_token_gets_the_bits_of_a_plain_step(gpu_llm, tmp_path, monkeypatch, width, ffn):
    """In steps of up to three and up to eight tokens; rows of odd numbers of blocks, which end within a vector."""
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 2, width=width, ffn=ffn, types="Q4_0", context=64)
    await gpu_llm.init(str(tiny.path), cache_bits=8)
    monkeypatch.setattr(agreement, "NEAR", 0.0)
    model = gpu_llm._loaded.model
    assert len(taken(few_layers(model, 8))) == 5
    for tokens in (3, 8):
        assert await agreement.few_agree(model, tokens)


async def test_matrices_in_parts_round_their_own_inputs(host, counted, tmp_path, monkeypatch):
    """Gate and up, for which steps of a few tokens have no kernel: both kinds of steps shall see the same numbers."""
    monkeypatch.setattr(weights, "WINDOW_BYTES", 200_000)
    path = write_tiny_gguf(tmp_path / "tiny.gguf", 2, width=768, layers=2, ffn=512, types="Q4_0", context=64).path
    small = posing(host, counted, max_binding_bytes=300_000)
    service = LocalLLM(replace(small, store=Shelf(), self_test=False))
    await service.init(str(path), cache_bits=8)
    try:
        model = service._require().model
        assert len(model.weights.matrices["blk.0.gate_up"][0].weight.parts) > 1
        assert taken(model.family.layers(model, 1)) == ["matvec"], "by the second layer's q, k and v"
        assert await agreement.few_agree(model, 4)
    finally:
        await service.unload()


@pytest.mark.parametrize("context", [1, 5, 33])
async def test_there_is_room_in_short_contexts(gpu_llm, path, context):
    logits = {}
    for mode in ("off", "auto"):
        await gpu_llm.init(path, int8=mode, cache_bits=8, context_size=context)
        logits[mode] = await gpu_llm._loaded.engine.logits(IDS[:context], 1)
    errors = np.linalg.norm(logits["auto"] - logits["off"], axis=-1) / np.linalg.norm(logits["off"], axis=-1)
    assert errors.max() < 0.2  # where something else lies in their place, it is 1 or more


async def test_the_self_test_tries_them(gpu_llm, path):
    await gpu_llm.init(path, cache_bits=8)
    model = gpu_llm._loaded.model
    counts = soundness.chunk_lengths(model)
    names = case_names(model, counts)
    leaving, taking = ({name for name in names if word in name} for word in ("leaving_bytes", "left_rows"))
    assert {name.split()[0] for name in leaving} == {name.split()[0] for name in taking} == {"matvec", "matvec_glu"}
    assert await wrong_kernels(model, counts, names) == []
    for right, wrong, concerned in (
        ("top / 127 * f32(sum)", "top / 126 * f32(sum)", leaving),
        ("rounded(four_leaving(local), top)", "rounded(four_leaving(local), 1.1 * top)", leaving),
        ("bitcast<u32>(squares)", "bitcast<u32>(1.1 * squares)", {name for name in leaving if "glu" not in name}),
        ("w.d * steps.xy", "w.d * steps.yx", taking),
        ("sum += four.x + four.y", "sum += four.x + four.x", {name for name in taking if "NORM=1" in name}),
    ):
        for entry in ("matvec", "matvec_glu"):
            device = Miscompiling(model.memory.device, entry, right, wrong)
            found = await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names)
            assert set(found) == {name for name in concerned if name.split()[0] == entry}, right


def test_a_group_of_zeros_is_no_fault():
    """Rows of zeros, as of padded matrices, leave them."""
    x, ids = np.random.default_rng(1).standard_normal((1, 64)), np.array([3, 50])
    x[0, 48:] = 0
    assert left_right(left(x)[0], x[0, ids], np.zeros(2), ids, 64)
    x[0, 50] = 1
    assert not left_right(left(np.where(x == 1, 0, x))[0], x[0, ids], np.zeros(2), ids, 64)


async def test_where_they_are_wrong_exact_products_run(host, counted, path):
    async def open_device():
        return Miscompiling(counted, "matvec_glu", "top / 127 * f32(sum)", "top / 126 * f32(sum)")

    service = LocalLLM(replace(posing(host, counted), open_device=open_device, store=Shelf()))
    await service.init(path, tune="off", cache_bits=8)
    try:
        info = await service.runtime_info()
        assert {name.split()[0] for name in info["replaced_kernels"]} == {"matvec_glu"}
        assert not info["int8"]
        assert not service._require().model.shared.caps.software
        assert (await service.chat(HELLO, max_tokens=3)).text
    finally:
        await service.unload()
