"""The whole service: the runtime with a catalogue, kept settings and a performance monitor. Knows no page.

Models are asked for by catalogue id, URL, path, file or bytes. What is said here of one model is kept across visits.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Unpack

from local_llm import runtime
from local_llm.catalog import Catalog, built_in, read_catalog, stem
from local_llm.errors import InvalidRequest, LocalLLMError, NotReady, UnknownModel
from local_llm.generate.sampler import read_options
from local_llm.gpu.ports import Host, Store
from local_llm.keeping import Keeping
from local_llm.loaded import Loading
from local_llm.performance import UNKNOWN, PerformanceMonitor
from local_llm.settings import KEPT, StateManager
from local_llm.storing import Storing

WIDGET = {
    "element": "local-llm-widget",
    "display_name": "Local LLM Runtime",
    "icon": "⚡",
    "category": "ai",
}


class Service(runtime.LocalLLM, Storing):
    """runtime.LocalLLM, and: catalogue, settings, measurements, the retry of a failed load.

    catalog, state_manager (any Store), performance: the host's own, in place of ours.
    """

    widget = WIDGET

    def __init__(
        self,
        host: Host,
        *,
        catalog: Catalog | None = None,
        state_manager: Store | None = None,
        performance: PerformanceMonitor | None = None,
    ) -> None:
        self.keeping = Keeping(host, lambda: self._events.emit("storage-changed", **self._kept_sums()))
        super().__init__(replace(host, open_blobs=self.keeping.open_blobs))
        self.catalog = catalog or built_in()
        self.settings = StateManager(state_manager or host.store)
        self.performance = performance or PerformanceMonitor()
        self._download: Mapping[str, Any] = {}
        self._loading_model: str | None = None
        self._load_started = 0.0
        self._last: tuple[Any, dict[str, Any]] | None = None
        self._remedy = ""
        self._unloads = 0
        self._last_activity: int | None = None
        self._keeping: set[asyncio.Task[Any]] = set()
        for name, callback in (
            ("loading", self._on_loading),
            ("progress", self._on_progress),
            ("ready", self._on_ready),
            ("error", self._on_error),
            ("unloaded", lambda detail: self.keeping.rest()),
            ("generation-end", self._on_generation_end),
        ):
            self.on(name, callback)

    # Loading

    async def init(self, model: Any = None, **options: Unpack[Loading]) -> None:
        """Load a model: a catalogue id, or what runtime.LocalLLM.init takes; options as there.

        Without one: the model that was loaded last (on an earlier visit, too), else the catalogue's first. The model of
        the last time gets its context_size, quantize and cache_bits of then; quantize=0: weights as the file has them.
        Raises UnknownModel with the nearest ids, and what runtime.LocalLLM.init raises.
        """
        unloads = self._unloads
        kept = await self.settings.restore()
        if unloads != self._unloads:
            raise NotReady(f"The load of '{model}' was stopped.", remedy="Call init() again.")
        if kept.memory_budget:
            self.performance.set_budget(kept.memory_budget)
        chosen = self._default() if model is None else model
        asked: dict[str, Any] = {name: options.get(name) for name in KEPT}
        if isinstance(chosen, str) and chosen == kept.model:
            asked = {name: getattr(kept, name) if value is None else value for name, value in asked.items()}
        last = (chosen, {**options, **asked})
        asked["quantize"] = asked["quantize"] or None
        try:
            source = self._source(chosen)
            context = asked["context_size"]
            if context is None and isinstance(chosen, str) and (entry := self.catalog.get(chosen)):
                context = entry.context_size
        except UnknownModel as error:
            if self.state.phase not in ("loading", "ready"):  # a typing error costs nobody the model at hand
                self._last = last
                self._failed(error)
            raise
        if self._loading is None:  # else it is refused, or is that load
            self._last = last
        asked["context_size"] = context
        wanted: dict[str, Any] = {**options, **asked}
        await super().init(source, **wanted)
        now = {"model": chosen, **asked}
        if isinstance(chosen, str) and any(getattr(kept, name) != value for name, value in now.items()):
            await self.settings.update(**now)

    async def retry(self) -> None:
        """Load again what was asked for last."""
        model, options = self._last or (None, {})
        await self.init(model, **options)

    async def unload(self) -> None:
        self._unloads += 1
        await super().unload()

    def _default(self) -> str:
        kept = self.settings.settings.model
        if kept is not None and (self.catalog.get(kept) or _is_place(kept)):
            return kept
        entry = self.catalog.default
        if entry is None:
            raise UnknownModel("The catalogue has no model that can be loaded.", remedy="Give init() a URL or a file.")
        return entry.id

    def _source(self, model: Any) -> Any:
        """What the host opens for what a person asked for."""
        if not isinstance(model, str):
            return model
        entry = self.catalog.get(model)
        if entry is not None:
            return entry.urls[0]
        return model if _is_place(model) else self.catalog.find(model).urls[0]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What fails in here is an event, too."""
        try:
            yield
        except LocalLLMError as error:
            self._tell(error)
            raise

    # The catalogue

    def available_models(self) -> list[dict[str, Any]]:
        """Every model of the catalogue, JSON-able: see catalog.Entry, and `supported`, `reason`, `loaded`, and
        `cached`, `deletable`, `kept_bytes` as they were when storage was last looked at.

        `fits` is null where nobody knows: WebGPU does not say how much memory a GPU has.
        """
        limit, held = self.performance.limit, self._loaded.memory.nbytes if self._loaded else 0
        return [
            {
                **entry.description,
                "loaded": entry.id == self.state.model,
                "fits": entry.fits(limit.nbytes if limit else None, held),
                **self.keeping.told(entry.urls),
            }
            for entry in self.catalog.entries
        ]

    def add_models(self, models: Sequence[Mapping[str, Any]]) -> list[str]:
        """Put models, described as in a catalogue, before those known; returns their ids. Raises InvalidRequest."""
        added = read_catalog(json.dumps(list(models)))
        self.catalog = self.catalog.with_first(added.entries)
        return added.ids

    async def load_catalog(self, url: str) -> list[str]:
        """Read a catalogue (JSON) and put its models before those known; returns their ids. Failures are events too."""
        with self._told():
            blobs = await self.keeping.open_once(url)
            added = read_catalog((await blobs.read(0, blobs.size)).decode("utf-8", "replace"), url)
        self.catalog = self.catalog.with_first(added.entries)
        return added.ids

    # Answering

    async def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        return await super().chat(messages, **self._with_kept(options))

    async def complete(self, prompt: str | Sequence[int], **options: Any) -> Any:
        return await super().complete(prompt, **self._with_kept(options))

    def _with_kept(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.settings.settings.options, **options}

    async def set_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of every later generation that does not say otherwise; kept across visits. {} for the defaults."""
        read_options(options)
        return dict((await self.settings.update(options=dict(options))).options)

    async def get_options(self) -> dict[str, Any]:
        """What set_options kept."""
        return dict((await self.settings.restore()).options)

    # Looking

    def status(self) -> dict[str, Any]:
        """What the runtime is doing now, JSON-able; everything that a widget shows."""
        caps = self._device.caps if self._device is not None else None
        limit, sums = self.performance.limit, self.state.statistics
        loading = self.state.phase == "loading"
        return {
            **super().status(),
            "loading_model": self._loading_model if loading else None,
            "remedy": self._remedy if self.state.error else "",
            "giving_way": self._giving_way() if self.state.error else [],
            **{name: self._download.get(name) if loading else None for name in _DOWNLOAD},
            "gpu_limit": {"bytes": limit.nbytes, "source": limit.source} if limit else None,
            "adapter": caps.adapter if caps else None,
            "software_adapter": caps.software if caps else False,
            "last_activity": self._last_activity,
            "statistics": {
                "generations": sums.generations,
                "tokens": sums.tokens,
                "seconds": sums.seconds,
                "average_tokens_per_second": self.performance.summary("decode_tokens_per_second").mean,
                "speeds": self.performance.speeds(),
            },
        }

    async def check_webgpu(self) -> dict[str, Any]:
        """Whether a GPU device can be had, and which, JSON-able. Where not: why, what to do, and an error event."""
        try:
            caps = (await self._open_device()).caps
        except LocalLLMError as error:
            name = type(error).__name__
            self._events.emit("error", name=name, message=error.message, remedy=error.remedy)
            return {"available": False, "error": error.message, "remedy": error.remedy, "cause": name}
        return {
            "available": True,
            "adapter": caps.adapter,
            "vendor": caps.vendor,
            "architecture": caps.architecture,
            "software_adapter": caps.software,
            "features": sorted(caps.features),
            "limits": {
                "max_binding_bytes": caps.max_binding_bytes,
                "max_buffer_bytes": caps.max_buffer_bytes,
                "max_workgroups": caps.max_workgroups,
                "workgroup_bytes": caps.workgroup_bytes,
                "max_invocations": caps.max_invocations,
            },
            "error": None,
            "remedy": "",
        }

    async def runtime_info(self) -> dict[str, Any]:
        info = await super().runtime_info()
        limit = self.performance.limit
        loaded = self._loaded
        return {
            **info,
            "gpu_limit_bytes": limit.nbytes if limit else None,
            "gpu_limit_source": limit.source if limit else UNKNOWN,
            "quantization": loaded.storage.describe() if loaded else None,
            "performance": self.performance.report(),
        }

    async def analytics(self) -> list[dict[str, Any]]:
        """Of each model that was ever loaded here: how it is stored and how fast it was. Kept, never sent."""
        return [{"model": model, **facts} for model, facts in (await self.settings.restore()).measured.items()]

    async def set_memory_budget(self, nbytes: int | None) -> None:
        """GPU bytes beyond which memory-warning is due; None: no budget. Kept across visits."""
        if nbytes is not None and (not isinstance(nbytes, int) or isinstance(nbytes, bool) or nbytes < 1):
            raise InvalidRequest(f"A memory budget is a number of bytes of at least 1, found {nbytes!r}.")
        self.performance.set_budget(nbytes)
        await self.settings.update(memory_budget=nbytes)
        self._warn()

    # What the runtime tells

    def _on_loading(self, detail: Mapping[str, Any]) -> None:
        recovering = self._loaded if detail.get("recovering") else None
        source = (recovering.origin if recovering else self._loading_origin).source
        self._loading_model = stem(str(detail["model"]))
        entry = next((one for one in self.catalog.entries if one.urls[0] == source), None)
        self.keeping.begin(source, entry.sha256 if entry else None, entry.least_bytes if entry else 0)
        self._load_started = self._host.clock()
        self._download, self._remedy = {}, ""

    def _on_progress(self, detail: Mapping[str, Any]) -> None:
        self._download = {**self._download, **detail}

    def _on_ready(self, detail: Mapping[str, Any]) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        self._keep(self.keeping.loaded(loaded.origin.source))
        self.performance.count("loads")
        self.performance.add("load_seconds", self._host.clock() - self._load_started)
        storage = loaded.storage
        self._keep(
            self.settings.measured(
                loaded.name,
                {
                    "file_bytes": loaded.file_bytes,
                    "bits_per_weight": round(storage.bits_per_weight, 3),
                    "tensor_types": storage.describe()["tensor_types"],
                    "gpu_bytes": loaded.memory.nbytes,
                    "load_seconds": round(self._host.clock() - self._load_started, 3),
                },
            )
        )
        self._warn()

    def _on_error(self, detail: Mapping[str, Any]) -> None:
        if detail["message"] == self.state.error:  # what others fail at changes nothing here
            self._remedy = str(detail.get("remedy", ""))
            if self.state.phase == "error":
                self.keeping.rest()
                self.performance.count("failed_loads")
        if detail.get("name") == "OutOfMemory":
            self.performance.refused(self.state.peak_bytes)

    def _on_generation_end(self, detail: Mapping[str, Any]) -> None:
        self._last_activity = round(time.time() * 1000)
        first, fresh = detail.get("time_to_first_token"), detail["prompt_tokens"] - detail["cached_tokens"]
        monitor = self.performance
        monitor.count("generations")
        monitor.count("prompt_tokens", detail["prompt_tokens"])
        monitor.count("cached_tokens", detail["cached_tokens"])
        monitor.count("completion_tokens", detail["completion_tokens"])
        monitor.add("first_token_seconds", first)
        monitor.add("prefill_tokens_per_second", fresh / first if first and fresh > 0 else None)
        monitor.add("decode_tokens_per_second", detail["tokens_per_second"])
        monitor.add("generation_seconds", detail["elapsed"])
        model = self.state.model
        if model is None:
            return
        known = self.settings.settings.measured.get(model, {})
        facts: dict[str, Any] = {
            "generations": known.get("generations", 0) + 1,
            "tokens": known.get("tokens", 0) + detail["completion_tokens"],
        }
        if detail["tokens_per_second"] is not None:
            facts["tokens_per_second"] = round(detail["tokens_per_second"], 2)
        self._keep(self.settings.measured(model, facts))

    def _gpu_limit(self) -> int | None:
        return self.performance.limit.nbytes if self.performance.limit else None

    def _warn(self) -> None:
        warning = self.performance.warning(self._loaded.memory.nbytes) if self._loaded else None
        if warning is not None:
            self._events.emit("memory-warning", **warning)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Write settings in the background."""
        task = asyncio.ensure_future(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def close(self) -> None:
        """Unload, finish writing settings, give the device back."""
        await super().close()
        if self._keeping:
            await asyncio.gather(*self._keeping, return_exceptions=True)  # a store that fails ends nothing


_DOWNLOAD = ("loaded_bytes", "total_bytes", "bytes_per_second", "seconds_left")


def _is_place(model: str) -> bool:
    """Whether a text is a URL or a path rather than an id."""
    return "/" in model or "\\" in model or model.lower().endswith(".gguf")
