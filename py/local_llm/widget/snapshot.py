"""What a widget shows, as one value: the runtime's status and the model list at one moment. Knows no page.

Made from the JSON-able dicts that the service answers with, so that any object with `status` and `available_models`
can stand behind a widget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelRow:
    """One line of the model list. nbytes: the download, None where unknown; estimate: nbytes is a guess.

    cached: on this device, no download is needed. deletable: and the service can delete it. fits: the GPU's memory,
    None where nobody knows. pinned: it never gives way to others, None where the service does not say.
    """

    id: str
    name: str
    family: str
    nbytes: int | None = None
    estimate: bool = False
    quantization: str = ""
    licence: str = ""
    supported: bool = True
    reason: str = ""  # why it is not supported
    cached: bool = False
    deletable: bool = False
    pinned: bool | None = None
    fits: bool | None = None


@dataclass(frozen=True)
class Giving:
    """A kept model whose deletion is offered. model: its address."""

    model: str
    name: str
    nbytes: int


@dataclass(frozen=True)
class Snapshot:
    """Bytes in bytes, times in seconds, last_activity in milliseconds since 1970. None: not known, or there is none.

    giving_way: models without which there is room for the one that was refused. catalog_error, catalog_remedy: why a
    widget's own catalogue could not be read, which the service goes on without.
    """

    ready: bool = False
    loading: bool = False
    generating: bool = False
    model: str | None = None  # loaded, or being loaded
    progress: float = 0.0
    progress_text: str = ""
    loaded_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    error: str | None = None
    remedy: str = ""
    giving_way: tuple[Giving, ...] = ()
    catalog_error: str = ""
    catalog_remedy: str = ""
    gpu_bytes: int = 0
    gpu_limit_bytes: int | None = None
    gpu_limit_source: str = ""
    adapter: str | None = None
    software_adapter: bool = False
    generations: int = 0
    tokens: int = 0
    average_tokens_per_second: float | None = None
    average_seconds: float | None = None
    speeds: tuple[float, ...] = ()  # tokens a second of the last generations, oldest first
    last_activity: int | None = None
    models: tuple[ModelRow, ...] = ()


def read_snapshot(status: Mapping[str, Any], models: Sequence[Mapping[str, Any]] = ()) -> Snapshot:
    """From a status (snake_case, as service.status()) and a model list. What is missing counts as not known."""
    statistics = _dict(status.get("statistics"))
    limit = _dict(status.get("gpu_limit"))
    generations = int(_number(statistics.get("generations")))
    seconds = _number(statistics.get("seconds"))
    activity = status.get("last_activity")
    return Snapshot(
        ready=bool(status.get("is_ready")),
        loading=bool(status.get("is_loading")),
        generating=bool(status.get("is_generating")),
        model=_text(status.get("model") or status.get("loading_model")),
        progress=min(max(_number(status.get("progress")), 0.0), 1.0),
        progress_text=_text(status.get("progress_text")) or "",
        loaded_bytes=int(_number(status.get("loaded_bytes"))),
        total_bytes=int(_number(status.get("total_bytes"))),
        bytes_per_second=_number(status.get("bytes_per_second")),
        seconds_left=None if status.get("seconds_left") is None else _number(status.get("seconds_left")),
        error=_text(status.get("error")),
        remedy=_text(status.get("remedy")) or "",
        giving_way=_giving(status.get("giving_way")),
        gpu_bytes=int(_number(status.get("gpu_bytes"))),
        gpu_limit_bytes=int(_number(limit.get("bytes"))) or None,
        gpu_limit_source=_text(limit.get("source")) or "",
        adapter=_text(status.get("adapter")),
        software_adapter=bool(status.get("software_adapter")),
        generations=generations,
        tokens=int(_number(statistics.get("tokens"))),
        average_tokens_per_second=_number(statistics.get("average_tokens_per_second")) or None,
        average_seconds=seconds / generations if generations else None,
        speeds=tuple(_number(speed) for speed in statistics.get("speeds") or ()),
        last_activity=None if activity is None else int(_number(activity)),
        models=tuple(_row(model) for model in models),
    )


def _row(model: Mapping[str, Any]) -> ModelRow:
    exact, estimate = model.get("download_bytes"), model.get("estimated_bytes")
    nbytes = exact or estimate
    identity = str(model.get("id", ""))
    return ModelRow(
        id=identity,
        name=_text(model.get("name")) or identity,
        family=_text(model.get("family")) or "Other",
        nbytes=int(_number(nbytes)) if nbytes else None,
        estimate=not exact,
        quantization=_text(model.get("quantization")) or "",
        licence=_text(model.get("licence")) or "",
        supported=model.get("supported") is not False,
        reason=_text(model.get("reason")) or "",
        cached=model.get("cached") is True,
        deletable=model.get("deletable") is True,
        pinned=pinned if isinstance(pinned := model.get("pinned"), bool) else None,
        fits=fits if isinstance(fits := model.get("fits"), bool) else None,
    )


def _giving(value: Any) -> tuple[Giving, ...]:
    rows = [one for one in value if isinstance(one, Mapping)] if isinstance(value, Sequence) else []
    models = [str(row.get("model", "")) for row in rows]
    return tuple(
        Giving(model, _text(row.get("name")) or model, int(_number(row.get("nbytes"))))
        for model, row in zip(models, rows, strict=True)
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
