"""A model on a device: loaded, freed, and brought back where the device is lost. Knows the host's ports, not the host.

One model at a time. Who works with it holds `_turn`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import Any, Unpack

from local_llm import inspection
from local_llm.errors import Busy, DeviceLost, LocalLLMError, NotReady
from local_llm.events import Events
from local_llm.formats.opening import open_checkpoint
from local_llm.generate.stats import steady
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Device, Host
from local_llm.gpu.reopening import reopen
from local_llm.loaded import Loaded, Loading, Origin, build
from local_llm.state import State

MOST_LOSSES = 3  # of the device, one after the other, until a request gives up


class Lifecycle:
    """What runtime.LocalLLM stands on."""

    def __init__(self, host: Host) -> None:
        self._host = replace(host, clock=steady(host.clock))
        self._device: Device | None = None
        self._had_device = False
        self._opening = asyncio.Lock()
        self._loaded: Loaded | None = None
        self._leaving: object = None  # lineage of the model that is being unloaded
        self._interrupted = False
        self._loading: asyncio.Task[None] | None = None
        self._loading_origin = Origin(None)
        self._generation: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._events = Events()
        self.state = State()

    # Loading

    async def init(self, model: Any, **options: Unpack[Loading]) -> None:
        """Load a model: a URL, a path, a file object of the host, GGUF bytes, a list of a model's files, or a folder.

        GGUF (also split), safetensors and MLC: see formats.opening. options: see loaded.Loading. A second call for the
        same model during loading joins the first. Raises any LocalLLMError, NotReady where unload() stopped the load;
        after an error no GPU bytes are held and the next init works.
        """
        origin = Origin(model, **options)
        while self._loading is not None and self._loading.cancelling():  # unload() is at it
            await asyncio.wait([self._loading])
        if self._loading is None:
            self._loading_origin = origin
            self._loading = asyncio.ensure_future(self._load(origin))
            self._loading.add_done_callback(self._load_ended)
        elif self._loading_origin != origin:
            raise Busy(f"Another model is being loaded; '{model}' was asked for.", remedy="Await that load first.")
        loading = self._loading
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            if not loading.cancelled():
                raise
            raise NotReady(f"The load of '{model}' was stopped.", remedy="Call init() again.") from None

    def _load_ended(self, loading: asyncio.Task[None]) -> None:
        """Of a load that was stopped before it began, too, which could not say so itself."""
        if self._loading is loading:
            self._loading = None

    async def _load(self, origin: Origin) -> None:
        self.state.phase, self.state.progress, self.state.error = "loading", 0.0, None
        self.state.progress_text = "Opening"
        name = origin.source if isinstance(origin.source, str) else getattr(origin.source, "name", "model")
        self._events.emit("loading", model=name)
        try:
            await self._free()
            self.state.phase, self.state.progress = "loading", 0.0  # a model that came back meanwhile was "ready"
            self._loaded = await self._open(origin)
        except BaseException as error:
            self._loading = None  # before listeners hear of it, who may load again
            if not isinstance(error, asyncio.CancelledError):
                self._failed(error)
            elif self._loaded is None:
                self._left(name)
            else:  # the present model was not freed yet
                self.state.phase, self.state.progress = "ready", 1.0
            raise
        self._loading = None
        self._arrived(self._loaded)

    async def _open(self, origin: Origin) -> Loaded:
        """A model on the device, or on a new one where that turns out to be lost. Raises any LocalLLMError."""
        for losses in count(1):
            memory = Memory(await self._open_device(), self._gpu_limit())
            try:
                self._say(0.0, "Reading the header")
                opened = await open_checkpoint(origin.source, self._host.open_blobs, origin.quantize)
                return await build(self._host, opened, memory, origin, self._say)
            except BaseException as error:
                self.state.peak_bytes = memory.peak
                memory.close()
                if not isinstance(error, DeviceLost) or losses > MOST_LOSSES:
                    raise
                self._device = None
        raise AssertionError("counting does not end")

    def _arrived(self, loaded: Loaded, **more: bool) -> None:
        self.state.phase, self.state.model, self.state.error = "ready", loaded.name, None
        self._say(1.0, "Ready")
        self.state.gpu_bytes = loaded.memory.nbytes
        self._events.emit("ready", model=loaded.name, **more)
        if loaded.replaced or loaded.wrong:
            self._events.emit("kernels-replaced", kernels=list(loaded.replaced), left=list(loaded.wrong))

    def _gpu_limit(self) -> int | None:
        """GPU bytes that should not be exceeded, where that is known."""
        return None

    async def _open_device(self) -> Device:
        async with self._opening:
            if self._device is None:
                again = self._had_device  # the first time nobody waits for an adapter that this machine has not
                self._device = await (reopen(self._host.open_device) if again else self._host.open_device())
                self._had_device = True
            return self._device

    def _say(self, progress: float, text: str, done: int = 0, total: int = 0, rate: float = 0.0) -> None:
        self.state.progress = max(self.state.progress, progress)
        self.state.progress_text = text
        self._events.emit(
            "progress",
            progress=self.state.progress,
            text=text,
            loaded_bytes=done,
            total_bytes=total,
            bytes_per_second=rate,
            seconds_left=(total - done) / rate if rate else None,
        )

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, DeviceLost):
            self._device = None
            if self._loaded is not None:
                self._loaded.memory.close()
                self._loaded = None
        self.state.phase, self.state.error, self.state.model = "error", inspection.message(error), None
        self.state.gpu_bytes = 0
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        remedy = error.remedy if isinstance(error, LocalLLMError) else ""
        self._events.emit("error", name=type(error).__name__, message=inspection.message(error), remedy=remedy)

    async def unload(self) -> None:
        """Stop a running load or generation and free all GPU memory. Without a model, does nothing."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        await self._free()

    async def _free(self) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        self._leaving = loaded.lineage  # requests that wait for a turn give up
        self.interrupt()
        try:
            async with self._turn:
                if self._loaded is None or self._loaded.lineage is not loaded.lineage:
                    return
                loaded, self._loaded = self._loaded, None
                try:
                    await loaded.close()
                finally:
                    self._left(loaded.name, "loading" if self._loading is not None else "empty")
        finally:
            if self._leaving is loaded.lineage:  # or it stays, since who wanted it away does not wait any more
                self._leaving = None

    def _left(self, name: str, phase: str = "empty") -> None:
        self.state.phase, self.state.progress = phase, 0.0
        self.state.model, self.state.gpu_bytes = None, 0
        self._events.emit("unloaded", model=name)

    async def switch_model(self, model: Any, **options: Unpack[Loading]) -> None:
        """Free the present model, then load another. Options and errors as init."""
        await self.init(model, **options)

    async def close(self) -> None:
        """Unload and give the device back."""
        await self.unload()
        if self._device is not None:
            self._device.close()
            self._device = None

    def interrupt(self) -> None:
        """Stop the running generation; what was generated stays. Without one, does nothing."""
        self._interrupted = True  # what is being recovered ends as well
        if self._loaded is not None:
            self._loaded.engine.interrupt()

    # A lost device

    async def _back(self, lost: Loaded) -> Loaded:
        """The same model on a new device. Who is cancelled meanwhile is so when it is back: others wait for it."""
        if lost.lineage is self._leaving:
            self._device = None
            raise NotReady("The model was unloaded while its device was lost.")
        reviving, cancelled = asyncio.ensure_future(self._revive(lost)), False
        while not reviving.done():
            try:
                await asyncio.wait([reviving])
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            reviving.exception()  # was told
            raise asyncio.CancelledError
        return reviving.result()

    async def _revive(self, lost: Loaded) -> Loaded:
        self._device = None
        await lost.close()
        self.state.phase, self.state.progress, self.state.gpu_bytes = "loading", 0.0, 0
        self._events.emit("loading", model=lost.name, recovering=True)
        try:
            self._loaded = replace(await self._open(lost.origin), lineage=lost.lineage)
        except BaseException as error:
            self._loaded = None
            self._failed(error)
            raise
        if self._interrupted:
            self._loaded.engine.interrupt()
        self._arrived(self._loaded, recovering=True)
        return self._loaded
