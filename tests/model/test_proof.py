"""The self-test: silent on a sound adapter; what one gets wrong is named, replaced and reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local_llm import LocalLLM, soundness
from local_llm.models.proof import case_names, wrong_kernels
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Shelf

HELLO = [{"role": "user", "content": "Hello"}]
WRONG = {  # a miscompiled kernel: entry point, what it does, what it shall do
    "matvec": ("= value + total(local)", "= value + 1.02 * total(local)"),
    "argmax": ("partial[lane + half]", "partial[lane]"),
}


class Miscompiling:
    """A device, said to be a GPU, that gets one kernel wrong."""

    def __init__(self, device, entry: str) -> None:
        self._device, self._entry = device, entry
        self.caps = replace(device.caps, software=False)

    def __getattr__(self, name):
        return getattr(self._device, name)

    async def create_pipeline(self, code, entry, bindings, constants):
        if entry == self._entry:
            right, wrong = WRONG[entry]
            assert right in code
            code = code.replace(right, wrong)
        return await self._device.create_pipeline(code, entry, bindings, constants)


@pytest.fixture
def path(tmp_path):
    return str(write_tiny_gguf(tmp_path / "tiny.gguf", 1, layers=1).path)


async def test_a_sound_adapter_has_nothing_wrong(gpu_llm, path):
    await gpu_llm.init(path)
    model = gpu_llm._loaded.model
    names = case_names(model)
    assert {name.split()[0] for name in names} == {"matvec", "matmul", "attention_step", "argmax"}
    before = model.memory.nbytes
    assert await wrong_kernels(model) == []
    assert model.memory.nbytes == before


@pytest.mark.parametrize("entry", WRONG)
async def test_a_kernel_that_is_computed_wrong_is_replaced(llm, host, counted, path, entry, monkeypatch):
    await llm.init(path)
    wanted = (await llm.chat(HELLO, max_tokens=10)).text
    await llm.unload()
    held = counted.nbytes

    async def open_device():
        return Miscompiling(counted, entry)

    shelf, heard, tests = Shelf(), [], []

    async def noted(model):
        tests.append(model)
        return await wrong_kernels(model)

    monkeypatch.setattr(soundness, "wrong_kernels", noted)
    for _ in range(2):  # the second visit knows
        service = LocalLLM(replace(host, open_device=open_device, store=shelf))
        service.on("kernels-replaced", lambda detail: heard.append(detail["kernels"]))
        await service.init(path)
        try:
            info = await service.runtime_info()
            found = info["replaced_kernels"] if entry == "matvec" else info["wrong_kernels"]
            assert found
            assert all(name.startswith(entry) for name in found)
            assert heard.pop() == info["replaced_kernels"]
            if entry == "matvec":
                assert (await service.chat(HELLO, max_tokens=10)).text == wanted
        finally:
            await service.unload()
    assert len(tests) == 1
    assert counted.nbytes == held
