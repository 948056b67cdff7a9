"""Which model the page loads, and how the page shows it: files or a folder from disk, dropped ones, an address,
or the service's own choice. Nothing is downloaded before somebody asks. Knows no DOM.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from local_llm.errors import Busy, LocalLLMError, NotReady, UnknownModel
from local_llm.page.view import View
from local_llm.service import Service
from local_llm.widget.amounts import bytes_text

Begin = Callable[[Coroutine[Any, Any, Any]], None]


class Picker:
    """begin(work): run it in the background. tell(error): the person; one that an event told too is shown once.

    default: what to load where nothing was chosen; None: the service's.
    """

    def __init__(
        self, service: Service, view: View, begin: Begin, tell: Callable[[LocalLLMError], None], default: str | None
    ) -> None:
        self._service = service
        self._view = view
        self._begin = begin
        self._tell = tell
        self._source: Any = default

    def start(self) -> None:
        """Tie the controls and the events."""
        view, service = self._view, self._service
        view.on("load", "click", lambda: self._begin(self.load()))
        view.on("file", "change", lambda: self._take(view.picked_files()))
        view.on("url-form", "submit", lambda: self._take(view.value("url").strip()))
        view.on_drop(self._take)
        service.on("loading", self._loading)
        service.on("progress", self._progress)
        service.on("ready", lambda _: self._begin(self._ready()))
        service.on("unloaded", lambda _: None if service.status()["is_loading"] else self.idle())
        service.on("error", self._failed)
        if isinstance(self._source, str):
            view.widget_model(self._source)
        self.idle()

    async def load(self) -> bool:
        """Load the chosen model; False where it failed, which the person knows."""
        try:
            await self._service.init(self._source)
        except NotReady:  # somebody stopped it
            return False
        except LocalLLMError as error:
            self._tell(error)
            return False
        return True

    async def _try(self, source: Any) -> None:
        """Load another model; one that cannot even be begun with is chosen no longer."""
        before, self._source = self._source, source
        try:
            await self._service.init(source)
        except NotReady:
            pass
        except LocalLLMError as error:
            self._tell(error)
            if isinstance(error, (Busy, UnknownModel)):
                self._source = before

    def idle(self) -> None:
        """Show that nothing is loaded, and what would be."""
        self._view.set_phase("idle")
        self._view.set_text("model", _name(self._source))
        self._view.set_text("adapter", "")
        self._view.set_text("status", "Not loaded yet: it loads with your first message and stays on this device.")

    def _take(self, source: str | Sequence[Any]) -> None:
        if source:
            self._begin(self._try(source[0] if not isinstance(source, str) and len(source) == 1 else source))

    def _loading(self, detail: Mapping[str, Any]) -> None:
        self._view.set_phase("loading")
        self._view.set_text("model", _name(detail["model"]))
        self._view.set_progress(0.0)

    def _progress(self, detail: Mapping[str, Any]) -> None:
        if not self._service.status()["is_loading"]:
            return
        self._view.set_progress(detail["progress"])
        total, rate = detail["total_bytes"], detail["bytes_per_second"]
        size = f" · {bytes_text(detail['loaded_bytes'])} of {bytes_text(total)}" if total else ""
        speed = f" · {bytes_text(rate)}/s" if total and rate else ""
        self._view.set_text("status", f"{detail['text']}{size}{speed}")

    async def _ready(self) -> None:
        info = await self._service.runtime_info()
        software = " (software adapter: the CPU computes)" if info["software_adapter"] else ""
        self._view.set_text("adapter", f"{info['adapter']}{software}")
        self._view.set_text("model", str(self._service.status()["model"]))
        self._view.set_text("status", "Ready. What you type stays on this device.")

    def _failed(self, detail: Mapping[str, Any]) -> None:
        status = self._service.status()
        if not (status["is_ready"] or status["is_loading"]):
            self._view.set_phase("error")
            self._view.set_text("status", "No model is loaded.")  # a toast says why


def _name(source: object) -> str:
    if source is None:
        return "Default model"
    return source.rsplit("/", 1)[-1] if isinstance(source, str) else str(getattr(source, "name", "model"))
