"""Models over Dawn: one device that counts its buffers, one loaded real model for the whole run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from local_llm import LocalLLM
from local_llm.entry import default_host
from tests.conftest import wait
from tests.model.posing import posing
from tests.unit.service_rig import Shelf

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / ".cache" / "assets"  # build.py puts them there
MODEL = Path(os.environ.get("LOCAL_LLM_MODEL", ASSETS / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"))
EXTRA = ASSETS / "test-models"  # for tests only


class CountingDevice:
    """Passes everything on and knows which buffers live: the truth about what a failed load leaves behind.

    It keeps pipelines: compiling takes a software adapter longer than running a tiny model.
    """

    def __init__(self, device):
        self._device = device
        self._pipelines = {}
        self.live = {}

    def __getattr__(self, name):
        return getattr(self._device, name)

    def create_buffer(self, nbytes, label):
        buffer = self._device.create_buffer(nbytes, label)
        self.live[id(buffer)] = (buffer, nbytes)
        return buffer

    async def create_pipeline(self, code, entry, bindings, constants):
        key = (code, *sorted(constants.items()))
        if key not in self._pipelines:
            self._pipelines[key] = await self._device.create_pipeline(code, entry, bindings, constants)
        return self._pipelines[key]

    def destroy(self, buffer):
        self.live.pop(id(buffer), None)
        self._device.destroy(buffer)

    def close(self):
        pass  # it serves the whole run

    @property
    def nbytes(self):
        return sum(nbytes for _, nbytes in self.live.values())


@pytest.fixture(scope="session")
def counted(device):
    return CountingDevice(device)


@pytest.fixture(scope="session")
def host(counted):
    """Each service takes it with a store of its own: what another one was told of the same model would count for it."""

    async def open_device():
        return counted

    return replace(default_host(), open_device=open_device, store=Shelf())


@pytest.fixture
def llm(host, counted):
    """A fresh service; nothing may be left on the GPU when its test ends."""
    yield from watched(host, counted)


@pytest.fixture
def gpu_llm(host, counted):
    """The same on the same adapter, said to be a GPU."""
    yield from watched(replace(posing(host, counted), self_test=False), counted)


def watched(host, counted):
    before = counted.nbytes
    service = LocalLLM(replace(host, store=Shelf()))
    yield service
    wait(service.unload())
    assert counted.nbytes == before, "GPU buffers are left behind"


@pytest.fixture(scope="session")
def real(host):
    """SmolLM2-135M-Instruct, loaded once."""
    service = LocalLLM(replace(host, store=Shelf()))
    wait(service.init(str(MODEL), context_size=1024))
    yield service
    wait(service.unload())
