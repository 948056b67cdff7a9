"""The Device port over navigator.gpu, through the bridge. Knows no models and no kernels.

Handles are JavaScript objects. JSON text, small bytes and handles cross, nothing else; one call replays a plan.
"""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from local_llm.browser.bridge import load_bridge, typed, typed_errors
from local_llm.browser.remedies import NO_NAVIGATOR_GPU, blocklisted, insecure, no_adapter, no_webgpu
from local_llm.errors import DeviceLost, WebGPUUnavailable
from local_llm.gpu.ports import Caps, Dispatch, Handle

_WANTED_FEATURES = ("shader-f16", "subgroups", "timestamp-query")
_WANTED_LIMITS = (
    "maxStorageBufferBindingSize",
    "maxBufferSize",
    "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup",
    "maxComputeWorkgroupSizeX",
    "maxStorageBuffersPerShaderStage",
)
_TYPES = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}
_SOFTWARE = ("swiftshader", "llvmpipe", "lavapipe", "basic render", "warp")


async def find_adapter(bridge: Any) -> tuple[Any, dict[str, Any]]:
    """The adapter and its info as WebGPU names it. Raises WebGPUUnavailable with a remedy for this browser."""
    browser = str(js.navigator.userAgent)
    if not getattr(js.navigator, "gpu", None):
        secure = bool(getattr(js, "isSecureContext", True))
        raise WebGPUUnavailable(NO_NAVIGATOR_GPU, remedy=no_webgpu(browser) if secure else insecure())
    try:
        found = await bridge.adapterInfo()
    except JsException as error:
        raise WebGPUUnavailable(f"Asking for a GPU adapter failed: {error}.", remedy=no_adapter(browser)) from None
    if not found:  # JavaScript's null is not None
        blocked = _drawing_gpu()
        if blocked:
            raise WebGPUUnavailable(
                f"The browser draws with '{blocked}', but offers no GPU adapter for WebGPU: it blocks this GPU or its "
                "driver.",
                remedy=blocklisted(browser),
            )
        raise WebGPUUnavailable("WebGPU is there, but it offers no GPU adapter.", remedy=no_adapter(browser))
    return found.adapter, json.loads(found.text)


def _drawing_gpu() -> str | None:
    """The GPU that WebGL draws with, where there is a page, a GPU, and the browser tells."""
    try:
        gl = js.document.createElement("canvas").getContext("webgl")
        name = str(gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL))
    except (JsException, AttributeError):
        return None
    return None if is_software({"description": name}) else name


async def open_device(features: Sequence[str] | None = None) -> BrowserDevice:
    """The best adapter's device with all features and limits that we use (or only `features`)."""
    bridge = await load_bridge()
    adapter, info = await find_adapter(bridge)
    wanted = [name for name in _WANTED_FEATURES if features is None or name in features]
    try:
        gpu = await bridge.openDevice(adapter, json.dumps(wanted), json.dumps(_WANTED_LIMITS))
    except JsException as error:
        raise WebGPUUnavailable(
            f"The adapter '{adapter_name(info)}' refused a device: {error}.",
            remedy="Close other pages that use the GPU and reload this one; if it stays so, restart the browser.",
        ) from None
    return BrowserDevice(bridge, gpu, info)


def adapter_name(info: Mapping[str, Any]) -> str:
    """A name for people out of what the browser lets us know."""
    known = [str(info[key]) for key in ("description", "device") if info.get(key)]
    plain = " ".join(str(info[key]) for key in ("vendor", "architecture") if info.get(key))
    return (known or [plain or "unnamed GPU"])[0]


def is_software(info: Mapping[str, Any]) -> bool:
    """True where a CPU pretends to be a GPU."""
    text = " ".join(str(value) for value in info.values()).lower()
    return bool(info.get("fallback")) or any(name in text for name in _SOFTWARE)


class BrowserDevice:
    """See gpu.ports.Device."""

    def __init__(self, bridge: Any, gpu: Any, info: Mapping[str, Any]) -> None:
        self._bridge = bridge
        self._gpu = gpu
        self._closed = False
        self._tickets = count()
        self._reading: dict[int, asyncio.Future[Any]] = {}  # by ticket
        self._hear = create_proxy(partial(_heard, self._reading))
        weakref.finalize(self, _let_go, self._hear, self._reading)
        self._pipelines: dict[
            tuple[str, str, str], Handle
        ] = {}  # a second model with the same kernels compiles nothing
        facts = json.loads(bridge.deviceFacts(gpu))
        limits = facts["limits"]
        self.caps = Caps(
            adapter=adapter_name(info),
            vendor=str(info.get("vendor", "")),
            architecture=str(info.get("architecture", "")),
            software=is_software(info),
            features=frozenset(facts["features"]),
            max_binding_bytes=limits["maxStorageBufferBindingSize"],
            max_buffer_bytes=limits["maxBufferSize"],
            max_workgroups=limits["maxComputeWorkgroupsPerDimension"],
            workgroup_bytes=limits["maxComputeWorkgroupStorageSize"],
            max_invocations=limits["maxComputeInvocationsPerWorkgroup"],
            storage_buffers=limits["maxStorageBuffersPerShaderStage"],
            driver=f"{info.get('description', '')} {js.navigator.userAgent}",
        )

    @property
    def gpu(self) -> Any:
        """The bridge's record of this device, for verbs that fill buffers without Python (blobs.py)."""
        self._check_open()
        return self._gpu

    def create_buffer(self, nbytes: int, label: str) -> Handle:
        self._check_open()
        with typed_errors(f"Buffer '{label}' of {nbytes} bytes"):
            return self._bridge.createBuffer(self._gpu, nbytes, label)

    def write(self, buffer: Handle, data: bytes, offset: int = 0) -> None:
        self._check_open()
        self._bridge.write(self._gpu, buffer, offset, to_js(data))

    def read(self, buffer: Handle, nbytes: int, offset: int = 0) -> Awaitable[bytes]:
        self._check_open()
        ticket = next(self._tickets)
        self._bridge.readFor(self._hear, ticket, self._gpu, buffer, offset, nbytes)
        # One that Pyodide's loop makes itself (create_future) costs a turn more.
        found = self._reading[ticket] = asyncio.Future(loop=asyncio.get_running_loop())
        return self._bytes(found)

    async def _bytes(self, found: asyncio.Future[Any]) -> bytes:
        result = await found
        if isinstance(result, JsException):
            raise typed(result, "The GPU")
        return result.to_bytes()

    async def create_pipeline(
        self, code: str, entry: str, bindings: Sequence[str], constants: Mapping[str, float]
    ) -> Handle:
        self._check_open()
        types = ",".join(_TYPES[access] for access in bindings)
        key = (code, types, json.dumps(dict(constants), sort_keys=True))
        if key not in self._pipelines:
            with typed_errors(f"Kernel '{entry}' does not compile"):
                made = await self._bridge.createPipeline(self._gpu, code, entry, types, key[2])
            self._pipelines[key] = (made.pipeline, made.layout)
        return self._pipelines[key]

    def bind(self, pipeline: Handle, buffers: Sequence[Handle]) -> Handle:
        self._check_open()
        return self._bridge.bind(self._gpu, pipeline[1], *buffers)

    def record(self, dispatches: Sequence[Dispatch]) -> Handle:
        flat: list[Any] = []
        for dispatch in dispatches:
            flat += (dispatch.pipeline[0], dispatch.group, *dispatch.grid)
        return self._bridge.record(*flat)

    def submit(self, recorded: Handle, times: int = 1) -> None:
        self._check_open()
        self._bridge.replay(self._gpu, recorded, times)

    def idle(self) -> Awaitable[None]:
        self._check_open()
        return self._done(self._bridge.idle(self._gpu))

    async def _done(self, started: Awaitable[Any]) -> None:
        with typed_errors("The GPU"):
            await started

    async def timed(self, recorded: Handle, times: int = 1) -> float:
        self._check_open()
        with typed_errors("The GPU"):
            return float(await self._bridge.timed(self._gpu, recorded, times)) * 1e-9

    async def copied(self, source: Handle, target: Handle, nbytes: int, times: int) -> float:
        began = time.perf_counter()
        self._check_open()
        self._bridge.copy(self._gpu, source, target, nbytes, times)
        await self.idle()
        return time.perf_counter() - began

    def destroy(self, buffer: Handle) -> None:
        buffer.destroy()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._bridge.close(self._gpu)

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceLost("The GPU device was closed.")


def _heard(reading: dict[int, asyncio.Future[Any]], ticket: int, found: Any) -> None:
    """The bridge tells what a read found: bytes, or an error."""
    waiting = reading.pop(ticket)
    if not waiting.done():  # nobody's any more where it was cancelled
        waiting.set_result(found)


def _let_go(hear: Any, reading: Mapping[int, Any]) -> None:
    """The device is gone; reads that are under way, and that nobody waits for, are still told of."""
    if not reading:
        hear.destroy()
