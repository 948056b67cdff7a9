"""Keeps views in step with one service: at once on its events, and by one timer in between. Knows no page and no DOM.

All widgets of a service share one controller; it hears events and runs its timer only while a view is attached.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from local_llm.widget.snapshot import Snapshot, read_snapshot

Off = Callable[[], None]
Every = Callable[[float, Callable[[], None]], Off]  # (seconds, callback) → stop; one repeating timer

LOADING_SECONDS = 0.5
IDLE_SECONDS = 5.0
PROGRESS_SECONDS = 0.1  # progress comes with every chunk of a download; eyes need no more than this
EVENTS = (
    *("loading", "progress", "ready", "error", "unloaded", "generation-start", "generation-end"),
    *("memory-warning", "storage-changed"),
)

_log = logging.getLogger(__name__)


class Service(Protocol):
    """What a controller needs of a service."""

    def status(self) -> Mapping[str, Any]: ...

    def available_models(self) -> Sequence[Mapping[str, Any]]: ...

    def on(self, event: str, callback: Callable[[Mapping[str, Any]], None]) -> Off: ...


class Controller:
    """every: the host's repeating timer. clock: seconds, monotonic."""

    def __init__(self, service: Service, every: Every, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._every = every
        self._clock = clock
        self._views: dict[object, Callable[[Snapshot], None]] = {}
        self._offs: list[Off] = []
        self._interval: float | None = None
        self._stop_timer: Off | None = None
        self._progress_at = float("-inf")
        self._shown: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The service as it is at this moment."""
        return read_snapshot(self._service.status(), self._service.available_models())

    def attach(self, view: Callable[[Snapshot], None]) -> Off:
        """Show the present state, and every later one until the returned function is called. That may be twice."""
        key = object()
        self._views[key] = view
        if not self._offs:
            self._offs = [self._service.on(name, self._hearer(name)) for name in EVENTS]
        self._shown = snapshot = self.snapshot()
        self._show(view, snapshot)
        self._retime(snapshot)

        def detach() -> None:
            if self._views.pop(key, None) is not None and not self._views:
                self._rest()

        return detach

    def refresh(self) -> None:
        """Show the present state in every view."""
        self._refresh(self.snapshot())

    def _refresh(self, snapshot: Snapshot) -> None:
        self._shown = snapshot
        for view in tuple(self._views.values()):
            self._show(view, snapshot)
        self._retime(snapshot)

    @property
    def interval(self) -> float | None:
        """Seconds between two refreshes now; None while no view is attached."""
        return self._interval

    def _hearer(self, name: str) -> Callable[[Mapping[str, Any]], None]:
        return self._progressed if name == "progress" else lambda detail: self.refresh()

    def _progressed(self, detail: Mapping[str, Any]) -> None:
        if self._clock() - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = self._clock()
            if self._shown is None:
                self.refresh()
            else:  # the list of models is long, and a download does not change it
                self._refresh(replace(read_snapshot(self._service.status()), models=self._shown.models))

    def _show(self, view: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
        try:
            view(snapshot)
        except Exception:  # a broken view must not break the service that told it, nor the other views
            _log.exception("A widget's view failed")

    def _retime(self, snapshot: Snapshot) -> None:
        wanted = (LOADING_SECONDS if snapshot.loading else IDLE_SECONDS) if self._views else None
        if wanted == self._interval:
            return
        self._interval = wanted
        if self._stop_timer is not None:
            self._stop_timer()
            self._stop_timer = None
        if wanted is not None:
            self._stop_timer = self._every(wanted, self.refresh)

    def _rest(self) -> None:
        for off in self._offs:
            off()
        self._offs = []
        self._interval = self._shown = None
        if self._stop_timer is not None:
            self._stop_timer()
            self._stop_timer = None
