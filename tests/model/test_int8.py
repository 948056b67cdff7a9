"""A model whose products round their inputs to bytes: near the exact one, tested by itself, left where it is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from local_llm import LocalLLM, soundness
from local_llm.errors import InvalidRequest
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import PACKED_DOT
from local_llm.models import tuning
from local_llm.models.proof import case_names, wrong_kernels
from local_llm.ops import variants
from tests.model.posing import posing
from tests.model.test_proof import HELLO, Idle, Miscompiling, as_device
from tests.model.test_speculation import PATTERN, both
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import write_mlc
from tests.unit.service_rig import Shelf

IDS = list(range(3, 43))
KINDS = {"matvec", "matvec_glu", "matmul_int8", "round_rows"}


@pytest.fixture(autouse=True)
def tiny_matrices_count_as_large(monkeypatch):
    monkeypatch.setattr(variants, "LEAST_INT8_COLS", 32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_tiny_gguf(tmp_path_factory.mktemp("int8") / "tiny.gguf", 1, types="Q4_0", context=256).path)


def rounding(names):
    return [name for name in names if "byte_rows" in name or name.split()[0] in KINDS - {"matvec", "matvec_glu"}]


async def test_logits_are_near_those_of_exact_products_and_drafts_leave_texts_as_they_are(gpu_llm, path):
    logits = {}
    for mode in ("off", "auto"):
        await gpu_llm.init(path, int8=mode)
        assert (await gpu_llm.runtime_info())["int8"] == (mode == "auto")
        assert (gpu_llm._loaded.model.shared.rounded is None) == (mode == "off")
        for chunk in (1, len(IDS)):
            logits[mode, chunk] = await gpu_llm._loaded.engine.logits(IDS, chunk)
    await both(gpu_llm, PATTERN, max_tokens=12)
    for chunk in (1, len(IDS)):
        wanted = logits["off", chunk]
        error = np.linalg.norm(logits["auto", chunk] - wanted) / np.linalg.norm(wanted)
        assert 1e-4 < error < 0.03  # 0.5 % or so for each product


async def test_matrices_whose_rows_end_within_a_block_keep_exact_products(host, counted, tmp_path):
    """In a file that is only so of MLC. The last tokens of the longest chunk show whether there is room for all."""
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 3, layers=1, ffn=100, context=32, tied=False)
    write_mlc(tmp_path / "folder", tiny.metadata, tiny.tensors, "q4f16_1")
    service = LocalLLM(replace(posing(host, counted), store=Shelf(), self_test=False))
    logits = {}
    for mode in ("off", "auto"):
        await service.init(str(tmp_path / "folder"), int8=mode)
        assert (await service.runtime_info())["int8"] == (mode == "auto"), "its other matrices"
        logits[mode] = await service._require().engine.logits(IDS[:32], 32)
    await service.unload()
    errors = np.linalg.norm(logits["auto"] - logits["off"], axis=1) / np.linalg.norm(logits["off"], axis=1)
    assert errors.max() < 0.03


async def test_the_self_test_tries_them(gpu_llm, path):
    await gpu_llm.init(path)
    model = gpu_llm._loaded.model
    counts = soundness.chunk_lengths(model)
    names = rounding(case_names(model, counts))
    assert {name.split()[0] for name in names} == KINDS
    assert await wrong_kernels(model, counts, names) == []
    for kind in sorted(KINDS):
        broken = replace(model, memory=Memory(as_device(Idle(model.memory.device, kind))))
        wanted = [name for name in names if name.split()[0] == kind]
        assert await wrong_kernels(broken, counts, names) == wanted


async def test_where_they_are_wrong_exact_products_run(host, counted, path):
    """And not the plain kernels of software adapters; nor is memory held for what does not run."""
    before = counted.nbytes

    async def open_device():
        return Miscompiling(counted, "matmul_int8", "four_dots(high, x.high)", "four_dots(low, x.high)")

    service = LocalLLM(replace(host, open_device=open_device, store=Shelf()))
    await service.init(path, tune="off", int8="off")
    exact = counted.nbytes - before
    await service.init(path, tune="off")
    try:
        assert counted.nbytes - before == exact
        info = await service.runtime_info()
        assert info["gpu_bytes"] == exact
        assert {name.split()[0] for name in info["replaced_kernels"]} == {"matmul_int8"}
        assert not info["int8"]
        assert not service._require().model.shared.caps.software
        assert (await service.chat(HELLO, max_tokens=3)).text
    finally:
        await service.unload()


async def test_where_exact_products_win_logits_are_exact(host, counted, path, monkeypatch):
    """Both are timed on the adapter; here the exact ones win whatever it says."""
    timed = []

    def winning(run):
        async def won(watch, variants, *rest):
            found = await run(watch, variants, *rest)
            timed.extend(seconds for _, seconds in found.table)
            return replace(found, variant=next(one for one in variants if not one.int8), after=found.before / 2)

        return won

    def two(caps, shape):
        found = variants.candidates(caps, shape)
        return (found[0], next(one for one in found if not one.int8))[: 1 + shape.int8]

    for name in ("_race", "_duel"):
        monkeypatch.setattr(tuning, name, winning(getattr(tuning, name)))
    monkeypatch.setattr(tuning, "STAGES", ((99, 1, 0.0),))
    monkeypatch.setattr(tuning, "WARM_UP", 0.0)
    monkeypatch.setattr(tuning, "candidates", two)
    monkeypatch.setattr("local_llm.choosing.SECONDS", 1e9)
    service, logits = LocalLLM(replace(posing(host, counted), store=Shelf())), []
    for mode in ("off", "auto"):
        await service.init(path, int8=mode)
        logits.append(await service.logits(IDS))
        logits.append(await service._require().engine.logits(IDS[:3], 1))
        assert not (await service.runtime_info())["int8"]
    choices = service._require().model.shared.choices
    await service.unload()
    assert {shape.kernel for shape in choices} == {"matvec", "matvec_glu", "matmul"}
    assert len(timed) >= 2 * len(choices)
    assert min(timed) > 0
    np.testing.assert_array_equal(logits[2], logits[0])
    np.testing.assert_array_equal(logits[3], logits[1])


@pytest.mark.parametrize(
    ("caps", "rounds"),
    [({}, True), ({"vendor": "Apple"}, False), ({"features": frozenset()}, False), ({"software": True}, False)],
    ids=["a GPU", "Metal", "an older WGSL", "a CPU"],
)
async def test_where_inputs_are_rounded(host, counted, path, caps, rounds):
    assert PACKED_DOT in counted.caps.features
    service = LocalLLM(replace(posing(host, counted, **caps), store=Shelf(), self_test=False))
    await service.init(path)
    try:
        assert (await service.runtime_info())["int8"] == rounds
    finally:
        await service.unload()


async def test_the_option_is_checked(gpu_llm, path):
    with pytest.raises(InvalidRequest, match="int8 must be auto or off, found 'on'"):
        await gpu_llm.init(path, int8="on")
