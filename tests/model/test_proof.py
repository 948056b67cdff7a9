"""The self-test: silent on a sound adapter; what one gets wrong is named, replaced and reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from local_llm import LocalLLM, soundness
from local_llm.errors import DeviceLost, GPUFault
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Device
from local_llm.models.proof import CASES, case_names, steps, wrong_kernels
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.gguf_writer import store, write_gguf
from tests.unit.service_rig import Shelf

HELLO = [{"role": "user", "content": "Hello"}]
WRONG = {  # a miscompiled kernel: entry point, what it does, what it shall do
    "matvec": ("value += total(0, local)", "value += 1.02 * total(0, local)"),
    "argmax": ("partial[lane + half]", "partial[lane]"),
}
KINDS = ("matvec", "matvec_glu", "matmul", "matmul_large", "attention_step", "attention", "qk_norm", "argmax")


def as_device(wrapped: Any) -> Device:
    """What passes the rest on is one."""
    return wrapped


class Miscompiling:
    """A device, said to be a GPU, that gets one kernel wrong."""

    def __init__(self, device, entry: str, right: str, wrong: str) -> None:
        self._device, self._entry, self._right, self._wrong = device, entry, right, wrong
        self.caps = replace(device.caps, software=False)

    def __getattr__(self, name):
        return getattr(self._device, name)

    async def create_pipeline(self, code, entry, bindings, constants):
        if entry == self._entry:
            code = code.replace(self._right, self._wrong)
        return await self._device.create_pipeline(code, entry, bindings, constants)


class Refusing(Miscompiling):
    """A device, said to be a GPU, whose driver does not compile one kernel."""

    def __init__(self, device, entry: str) -> None:
        super().__init__(device, entry, "", "")

    async def create_pipeline(self, code, entry, bindings, constants):
        if entry == self._entry:
            raise GPUFault(f"Kernel '{entry}' does not compile: internal error.")
        return await self._device.create_pipeline(code, entry, bindings, constants)


def opens(device):
    async def open_device():
        return device

    return open_device


class Idle:
    """A device that does nothing where it shall run one kernel."""

    def __init__(self, device, entry: str) -> None:
        self._device, self._entry, self._found = device, entry, []

    def __getattr__(self, name):
        return getattr(self._device, name)

    async def create_pipeline(self, code, entry, bindings, constants):
        made = await self._device.create_pipeline(code, entry, bindings, constants)
        self._found += [made] * (entry == self._entry)
        return made

    def record(self, dispatches):
        return self._device.record([one for one in dispatches if not any(one.pipeline is it for it in self._found)])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Wide enough for large tiles where chunks are long, and for small ones where they are not; norms of q and k."""
    folder = tmp_path_factory.mktemp("proof")
    made = write_tiny_gguf(folder / "plain.gguf", 1, layers=1, ffn=1024, context=512)
    metadata = {key.replace("llama.", "qwen3."): value for key, value in made.metadata.items()}
    gains = {f"blk.0.attn_{part}_norm.weight": np.linspace(0.5, 1.5, 16, dtype=np.float32) for part in "qk"}
    tensors = {name: store(values, "F32") for name, values in {**made.tensors, **gains}.items()}
    return str(write_gguf(folder / "tiny.gguf", metadata | {"general.architecture": "qwen3"}, tensors))


@pytest.fixture
def model(gpu_llm, path):
    wait(gpu_llm.init(path))
    model = gpu_llm._loaded.model
    return model, soundness.chunk_lengths(model)


async def test_a_sound_adapter_has_nothing_wrong(model):
    model, counts = model
    names = case_names(model, counts)
    assert {name.split()[0] for name in names} == set(KINDS)
    parts = {name.rpartition("=")[2] for name in names if name.startswith("attention_step")}
    assert parts == {"1", "2"}
    assert len([name for name in names if "parted_input" in name]) == 1
    before = model.memory.nbytes
    assert await wrong_kernels(model, counts, names) == []
    assert model.memory.nbytes == before


@pytest.mark.parametrize("biases", [False, True])
async def test_projections_and_attention_in_one_launch_are_tried(gpu_llm, tmp_path, biases):
    made = write_tiny_gguf(tmp_path / "plain.gguf", 1, layers=1, ffn=1024, context=512)
    metadata, tensors = made.metadata, made.tensors
    if biases:
        metadata = {key.replace("llama.", "qwen2."): value for key, value in metadata.items()}
        metadata |= {"general.architecture": "qwen2"}
        rows = {part: tensors[f"blk.0.attn_{part}.weight"].shape[0] for part in "qkv"}
        added = {f"blk.0.attn_{part}.bias": np.linspace(-1, 1, rows[part], dtype=np.float32) for part in "qkv"}
        tensors = {**tensors, **added}
    stored = {name: store(values, "F32") for name, values in tensors.items()}
    await gpu_llm.init(str(write_gguf(tmp_path / "tiny.gguf", metadata, stored)))
    model = gpu_llm._loaded.model
    counts = soundness.chunk_lengths(model)
    names = case_names(model, counts)
    one, joining = ([name for name in names if word in name] for word in ("qkv_attention", "newest_input"))
    assert {name.rpartition("=")[2] for name in one} == {"1", "2"}
    assert {"PARTS=1" in name for name in joining} == {True, False}
    assert not [name for name in names if name.startswith("attention_step")]
    assert await wrong_kernels(model, counts, names) == []
    for right, wrong in (("added[at] + own[at]", "added[at] + 1.02 * own[at]"), ("score == MASKED", "base == 0")):
        device = Miscompiling(model.memory.device, "qkv_attention", right, wrong)
        assert await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names) == one
    device = Miscompiling(model.memory.device, "matvec", "sum = exp(newest - highest)", "sum = 1.0")
    assert await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names) == joining


async def test_kernels_over_a_cache_of_bytes_are_tried(gpu_llm, path):
    await gpu_llm.init(path, cache_bits=8)
    model = gpu_llm._loaded.model
    counts = soundness.chunk_lengths(model)
    names = [name for name in case_names(model, counts) if "q8_" in name]
    assert {name.split()[0] for name in names} == {"attention_step", "attention"}
    assert await wrong_kernels(model, counts, names) == []
    device = Miscompiling(model.memory.device, "attention_step", "* (1.0 / 127)", "* (1.02 / 127)")
    wrong = await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names)
    assert wrong == [name for name in names if name.startswith("attention_step")]


async def test_whatever_software_adapters_run_otherwise_is_tried(model):
    model, counts = model
    plain = replace(model, shared=replace(model.shared, caps=replace(model.shared.caps, software=True)))
    ours, theirs = ({call.kernel for calls in steps(one, counts) for call in calls} for one in (model, plain))
    assert {kernel.name for kernel in ours - theirs} <= set(CASES)


async def test_each_kind_of_kernel_is_found_where_it_does_nothing(model):
    model, counts = model
    for kind in KINDS:
        broken = replace(model, memory=Memory(as_device(Idle(model.memory.device, kind))))
        names = case_names(model, counts)
        wanted = [name for name in names if name.split()[0] == kind]
        assert await wrong_kernels(broken, counts, names) == wanted != []


async def test_only_the_variant_that_is_wrong_is_named(model):
    model, counts = model
    device = Miscompiling(model.memory.device, "matvec", "return total / sum;", "return total / (1.02 * sum);")
    names = case_names(model, counts)
    wrong = await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names)
    assert wrong == [name for name in names if "parted_input" in name]


@pytest.mark.parametrize("refused", [False, True], ids=["wrong", "refused"])
async def test_where_one_launch_is_wrong_two_are_taken(gpu_llm, host, counted, tmp_path, refused):
    path = str(write_tiny_gguf(tmp_path / "tiny.gguf", 1, layers=1).path)
    await gpu_llm.init(path)
    wanted = (await gpu_llm.complete([1, 2, 3], max_tokens=10, ignore_eos=True)).token_ids
    await gpu_llm.unload()

    async def open_device():
        if refused:
            return Refusing(counted, "qkv_attention")
        return Miscompiling(counted, "qkv_attention", "added[at] + own[at]", "added[at] + 1.02 * own[at]")

    service = LocalLLM(replace(host, open_device=open_device, store=Shelf()))
    await service.init(path, tune="off")
    try:
        replaced = (await service.runtime_info())["replaced_kernels"]
        assert {name.split()[0] for name in replaced} == {"qkv_attention"}
        model = service._require().engine._model
        assert not model.memory.device.caps.software
        kernels = {call.kernel.name for call in model.family.layers(model, 1)}
        assert {"matvec", "attention_step"} <= kernels
        assert "qkv_attention" not in kernels
        assert (await service.complete([1, 2, 3], max_tokens=10, ignore_eos=True)).token_ids == wanted
    finally:
        await service.unload()


async def test_what_a_driver_does_not_compile_is_replaced(host, counted, path):
    """Where there is something in its place; what all need is told as it is."""
    for entry in ("matvec", "attention_step", "matmul"):
        service = LocalLLM(replace(host, open_device=opens(Refusing(counted, entry)), store=Shelf()))
        await service.init(path, tune="off")
        try:
            replaced = (await service.runtime_info())["replaced_kernels"]
            assert {name.split()[0] for name in replaced} == {entry}
            assert (await service.chat(HELLO, max_tokens=3)).text
        finally:
            await service.unload()
    for entry in ("embed", "argmax"):
        service = LocalLLM(replace(host, open_device=opens(Refusing(counted, entry)), store=Shelf()))
        with pytest.raises(GPUFault, match=f"'{entry}' does not compile"):
            await service.init(path, tune="off")


async def test_what_says_nothing_of_a_kernel_is_no_verdict(model):
    """A device that is lost refuses everything; without `embed` nothing can be tried."""
    model, counts = model
    names = case_names(model, counts)
    device = Refusing(model.memory.device, "embed")
    with pytest.raises(GPUFault, match="embed"):
        await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, names)

    class Lost(Refusing):
        async def create_pipeline(self, code, entry, bindings, constants):
            return await super().create_pipeline(code, self._entry, bindings, constants)

        async def read(self, *where):
            raise DeviceLost("It is gone.")

    device = Lost(model.memory.device, "any")
    alone = [name for name in names if name.startswith("attention_step")]  # needs no other kernel
    with pytest.raises(DeviceLost):
        await wrong_kernels(replace(model, memory=Memory(as_device(device))), counts, alone)


@pytest.mark.parametrize("entry", WRONG)
async def test_a_kernel_that_is_computed_wrong_is_replaced(llm, host, counted, path, entry, monkeypatch):
    await llm.init(path)
    wanted = (await llm.chat(HELLO, max_tokens=10)).text
    await llm.unload()
    held = counted.nbytes

    async def open_device():
        return Miscompiling(counted, entry, *WRONG[entry])

    shelf, heard, tests = Shelf(), [], []

    async def noted(model, counts, names):
        tests.append(model)
        return await wrong_kernels(model, counts, names)

    monkeypatch.setattr(soundness, "wrong_kernels", noted)
    for _ in range(2):  # the second visit knows
        service = LocalLLM(replace(host, open_device=open_device, store=shelf))
        service.on("kernels-replaced", lambda detail: heard.append(detail["kernels"]))
        await service.init(path, tune="off")
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
