"""The Device port over Dawn in CPython (`wgpudawn`). Knows no models and no kernels.

Waiting blocks the event loop: natively one person waits for one answer, and a blocking wait in Dawn has less
latency than polling.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

from local_llm.errors import DeviceLost, GPUFault, LocalLLMError, OutOfMemory, WebGPUUnavailable
from local_llm.gpu.ports import PACKED_DOT, Caps, Dispatch, Handle

_CHROMIUM = Path("/usr/lib/chromium")
_USAGE = 0x0004 | 0x0008 | 0x0040 | 0x0080  # COPY_SRC | COPY_DST | UNIFORM | STORAGE
_STAGING = 0x0001 | 0x0008  # MAP_READ | COPY_DST
_TICKS = 0x0200 | 0x0004  # QUERY_RESOLVE | COPY_SRC
_WANTED_FEATURES = ("shader-f16", "subgroups", "timestamp-query")
_WANTED_LIMITS = {
    "max-storage-buffer-binding-size",
    "max-buffer-size",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroup-size-x",
    "max-storage-buffers-per-shader-stage",
}


def _load_vulkan() -> None:
    """Dawn opens libvulkan.so.1 by name; Debian's Chromium carries one, and a CPU driver beside it."""
    try:
        ctypes.CDLL("libvulkan.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        loader = _CHROMIUM / "libvulkan.so.1"
        if not loader.exists():
            raise WebGPUUnavailable(
                "No Vulkan loader (libvulkan.so.1) was found.",
                remedy="Install it (apt-get install libvulkan1), or Chromium, which carries one.",
            ) from None
        ctypes.CDLL(str(loader), mode=ctypes.RTLD_GLOBAL)
    icd = _CHROMIUM / "vk_swiftshader_icd.json"
    drivers = [*Path("/usr/share/vulkan/icd.d").glob("*.json"), *Path("/etc/vulkan/icd.d").glob("*.json")]
    hardware = [driver for driver in drivers if "lvp" not in driver.name]
    if not hardware and icd.exists():
        os.environ.setdefault("VK_DRIVER_FILES", str(icd))


async def open_device(features: Sequence[str] | None = None) -> NativeDevice:
    """The first adapter's device with all features and limits that we use (or only `features`)."""
    _load_vulkan()
    import wgpudawn as wgpu

    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        raise WebGPUUnavailable(
            f"Dawn found no GPU adapter ({error}).",
            remedy="Install a Vulkan driver, or Debian's chromium for its CPU driver.",
        ) from None
    wanted = [f for f in _WANTED_FEATURES if f in adapter.features and (features is None or f in features)]
    limits = {name: adapter.limits[name] for name in _WANTED_LIMITS}
    return NativeDevice(adapter.request_device_sync(required_features=wanted, required_limits=limits), adapter.info)


class _Now:
    """An awaitable whose work was started already and whose end is waited for in Dawn."""

    def __init__(self, finish: Any) -> None:
        self._finish = finish

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()  # let other tasks run, a cancellation arrive
        return self._finish()


class NativeDevice:
    """See gpu.ports.Device."""

    def __init__(self, device: Any, info: Mapping[str, Any]) -> None:
        self._device = device
        self._queue = device.queue
        self._faults: list[LocalLLMError] = []
        self._closed = False
        self._info = info
        self._pipelines: dict[object, Handle] = {}  # a second model with the same kernels compiles nothing
        limits = device.limits
        self.caps = Caps(
            adapter=str(info["device"]),
            vendor=str(info["vendor"]),
            architecture=str(info["architecture"]),
            software=info["adapter_type"] == "CPU",
            features=frozenset((PACKED_DOT, *map(str, device.features))),  # Dawn's WGSL has it everywhere
            max_binding_bytes=limits["max-storage-buffer-binding-size"],
            max_buffer_bytes=limits["max-buffer-size"],
            max_workgroups=limits["max-compute-workgroups-per-dimension"],
            workgroup_bytes=limits["max-compute-workgroup-storage-size"],
            max_invocations=limits["max-compute-invocations-per-workgroup"],
            storage_buffers=limits["max-storage-buffers-per-shader-stage"],
            driver=str(info["description"]),
        )
        self._open_scopes()

    def create_buffer(self, nbytes: int, label: str) -> Handle:
        return self._device.create_buffer(size=nbytes, usage=_USAGE, label=label)

    def write(self, buffer: Handle, data: bytes, offset: int = 0) -> None:
        self._queue.write_buffer(buffer, offset, data)

    def read(self, buffer: Handle, nbytes: int, offset: int = 0) -> Awaitable[bytes]:
        self._check_open()
        staging = self._device.create_buffer(size=max(nbytes, 4), usage=_STAGING, label="staging")
        encoder = self._device.create_command_encoder()
        encoder.copy_buffer_to_buffer(buffer, offset, staging, 0, nbytes)
        self._queue.submit([encoder.finish()])
        mapped = staging.map_async("READ")

        def finish() -> bytes:
            try:
                mapped.sync_wait()
                self._raise_faults()
                return bytes(staging.read_mapped(0, nbytes))
            except RuntimeError as error:
                self._raise_faults()
                raise DeviceLost(f"Reading from the GPU failed: {error}") from None
            finally:
                staging.destroy()

        return _Now(finish)

    def create_pipeline(
        self, code: str, entry: str, bindings: Sequence[str], constants: Mapping[str, float]
    ) -> Awaitable[Handle]:
        key = (code, entry, tuple(bindings), tuple(sorted(constants.items())))
        if key in self._pipelines:
            return _Now(lambda: self._pipelines[key])
        kinds = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}
        layout = self._device.create_bind_group_layout(
            entries=[
                {"binding": index, "visibility": 4, "buffer": {"type": kinds[access]}}
                for index, access in enumerate(bindings)
            ]
        )
        self._device.push_error_scope("validation")
        module = self._device.create_shader_module(code=code, label=entry)
        said = self._device.pop_error_scope_async()
        promise = self._device.create_compute_pipeline_async(
            label=entry,
            layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={
                "module": module,
                "entry_point": entry,
                "constants": dict(constants),
            },
        )

        def finish() -> Handle:
            try:
                self._pipelines[key] = (promise.sync_wait(), layout)
            except Exception as error:
                reason = said.sync_wait() or error
                raise GPUFault(f"Kernel '{entry}' does not compile: {reason}") from None
            return self._pipelines[key]

        return _Now(finish)

    def bind(self, pipeline: Handle, buffers: Sequence[Handle]) -> Handle:
        entries = [{"binding": index, "resource": {"buffer": buffer}} for index, buffer in enumerate(buffers)]
        return self._device.create_bind_group(layout=pipeline[1], entries=entries)

    def record(self, dispatches: Sequence[Dispatch]) -> Handle:
        return [(dispatch.pipeline[0], dispatch.group, dispatch.grid) for dispatch in dispatches]

    def submit(self, recorded: Handle, times: int = 1) -> None:
        self._replay(recorded, times)

    def _replay(self, recorded: Handle, times: int, **more: Any) -> None:
        self._check_open()
        encoder = self._device.create_command_encoder()
        one = encoder.begin_compute_pass(**more)
        for pipeline, group, grid in recorded * times:
            one.set_pipeline(pipeline)
            one.set_bind_group(0, group)
            one.dispatch_workgroups(*grid)
        one.end()
        self._queue.submit([encoder.finish()])

    async def timed(self, recorded: Handle, times: int = 1) -> float:
        queries = self._device.create_query_set(type="timestamp", count=2)
        ticks = self._device.create_buffer(size=16, usage=_TICKS, label="ticks")
        stamps = {"query_set": queries, "beginning_of_pass_write_index": 0, "end_of_pass_write_index": 1}
        self._replay(recorded, times, timestamp_writes=stamps)
        encoder = self._device.create_command_encoder()
        encoder.resolve_query_set(queries, 0, 2, ticks, 0)
        self._queue.submit([encoder.finish()])
        start, stop = struct.unpack("<2Q", await self.read(ticks, 16))
        ticks.destroy()
        return (stop - start) * 1e-9

    async def copied(self, source: Handle, target: Handle, nbytes: int, times: int) -> float:
        self._check_open()
        began = time.perf_counter()
        encoder = self._device.create_command_encoder()
        for _ in range(times):
            encoder.copy_buffer_to_buffer(source, 0, target, 0, nbytes)
        self._queue.submit([encoder.finish()])
        await self.idle()
        return time.perf_counter() - began

    def idle(self) -> Awaitable[None]:
        self._check_open()
        done = self._queue.on_submitted_work_done_async()

        def finish() -> None:
            done.sync_wait()
            self._raise_faults()

        return _Now(finish)

    def destroy(self, buffer: Handle) -> None:
        buffer.destroy()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._device.destroy()

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceLost("The GPU device was closed.")

    def _open_scopes(self) -> None:
        self._device.push_error_scope("out-of-memory")
        self._device.push_error_scope("validation")

    def _raise_faults(self) -> None:
        validation = self._device.pop_error_scope_async().sync_wait()
        memory = self._device.pop_error_scope_async().sync_wait()
        self._open_scopes()
        if memory is not None:
            raise OutOfMemory(f"The GPU refused an allocation: {memory}.")
        if validation is not None:
            raise GPUFault(f"WebGPU rejected a command: {validation}")
