"""When the self-test of kernels runs: once for each adapter, driver and version, and for kernels that are new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local_llm import soundness
from local_llm.errors import OutOfMemory
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench


@pytest.fixture
def visit(tmp_path, monkeypatch) -> Any:
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    bench = Bench(tmp_path)
    tests: list[list[str]] = []

    async def visited(*, wrong=(), names=("matvec", "argmax"), fault=None, **caps):
        tests.clear()

        async def wrong_kernels(model, counts, names):
            tests.append(list(names))
            if fault:
                raise fault
            return [name for name in names if name in wrong]

        monkeypatch.setattr(soundness, "case_names", lambda model, counts: list(names))
        monkeypatch.setattr(soundness, "wrong_kernels", wrong_kernels)
        bench.device = RecordingDevice(replace(CAPS, **{"software": False, **caps}))
        service = bench.service()
        await service.init("tiny", tune="off")
        info = await service.runtime_info()
        assert sum(map(len, bench.device.live)) == info["gpu_bytes"]
        return len(tests), info["replaced_kernels"] + info["wrong_kernels"]

    return visited, bench


async def test_once_for_each_adapter_driver_and_kernel(visit):
    visited, _ = visit
    assert await visited() == (1, [])
    assert await visited() == (0, [])
    assert await visited(driver="another") == (1, [])
    assert await visited(driver="another", names=("matvec", "argmax", "matmul")) == (1, [])
    assert await visited(driver="another", names=("matmul",)) == (0, [])
    assert await visited(adapter="another") == (1, [])


async def test_what_is_wrong_is_remembered_and_told(visit):
    visited, bench = visit
    assert await visited(wrong=["matvec", "argmax"]) == (1, ["matvec", "argmax"])
    assert bench.device.caps.software
    assert await visited() == (0, ["matvec", "argmax"])
    assert bench.last("kernels-replaced") == {"kernels": ["matvec"], "left": ["argmax"]}
    assert await visited(names=("argmax",)) == (0, ["argmax"])
    assert not bench.device.caps.software


async def test_software_adapters_are_not_tested(visit):
    visited, _ = visit
    assert await visited(software=True, wrong=["matvec"]) == (0, [])


@pytest.mark.parametrize("kept", ["{", "[]", '{"adapter": 1}', '{"right": {"matvec": 1}}'])
async def test_a_damaged_note_means_another_test(visit, kept):
    visited, bench = visit
    bench.shelf.texts[soundness.KEY] = kept
    assert await visited() == (1, [])


async def test_a_test_that_finds_no_memory_is_no_verdict(visit):
    visited, _ = visit
    assert await visited(fault=OutOfMemory("No more.")) == (1, [])
    assert await visited() == (1, [])
