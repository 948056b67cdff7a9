"""The status and the controls that a dashboard reads from a widget. Pure: a snapshot in, data out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm.widget.amounts import bytes_text, percent
from local_llm.widget.snapshot import Snapshot

STATES = ("disabled", "loading", "active", "idle", "error")


@dataclass(frozen=True)
class Control:
    """A button: `id` says what it does (see controller.act), `label` what it is called."""

    id: str
    label: str


LOAD = Control("load-model", "⚡ Load Model")
UNLOAD = Control("unload-model", "⛶ Unload Model")
STOP_LOADING = Control("stop-loading", "■ Stop")
STOP = Control("stop-generation", "■ Stop")
RETRY = Control("retry", "↻ Retry")


def state_of(snapshot: Snapshot) -> str:
    """One of STATES. "disabled": no model is loaded and nothing failed."""
    if snapshot.loading:
        return "loading"
    if snapshot.ready:
        return "active" if snapshot.generating else "idle"
    return "error" if snapshot.error else "disabled"


def widget_status(snapshot: Snapshot) -> dict[str, Any]:
    """All five fields, always; None where there is nothing to say.

    last_activity: milliseconds since 1970 of the last generation's end.
    """
    return {
        "state": state_of(snapshot),
        "primary_metric": snapshot.model or "Not loaded",
        "secondary_metric": memory_text(snapshot) if snapshot.ready else f"{percent(snapshot.progress)} loaded",
        "last_activity": snapshot.last_activity,
        "message": _message(snapshot),
    }


def controls(snapshot: Snapshot) -> list[Control]:
    """What a person can do now."""
    state = state_of(snapshot)
    return {
        "disabled": [LOAD],
        "loading": [STOP_LOADING],
        "active": [STOP],
        "idle": [UNLOAD],
        "error": [RETRY, LOAD],
    }[state]


def memory_text(snapshot: Snapshot) -> str:
    """GPU memory held: a share where a limit is known, else bytes, because WebGPU does not tell a GPU's size."""
    if snapshot.gpu_limit_bytes:
        return f"GPU: {percent(snapshot.gpu_bytes / snapshot.gpu_limit_bytes)}"
    return f"GPU: {bytes_text(snapshot.gpu_bytes)}"


def _message(snapshot: Snapshot) -> str | None:
    state = state_of(snapshot)
    if state == "error":
        return f"Error: {snapshot.error} {snapshot.remedy}".strip()
    if state == "loading":
        return f"Loading model... {snapshot.progress_text}".strip()
    return None
