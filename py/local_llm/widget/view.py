"""What the widget looks like, as a tree of elements. Pure: a snapshot in, a tree out; knows no DOM and no service.

Subclass View and override a section, or list other `sections`. A click on an element with data-action (and data-model)
is what the widget acts on. Colours and sizes are widget.css's business; nothing here carries a style.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from local_llm.widget.amounts import bytes_text, duration, percent, speed
from local_llm.widget.snapshot import Giving, ModelRow, Snapshot
from local_llm.widget.status import Control, controls, state_of
from local_llm.widget.tree import El, h, svg

BADGES = {
    "disabled": "○ Not Loaded",
    "loading": "☍ Loading",
    "active": "● Generating",
    "idle": "✓ Ready",
    "error": "✕ Error",
}
PLOT_WIDTH, PLOT_HEIGHT = 240, 48
ICONS = {  # paths in a square of 10: not every system's fonts have the signs of the labels
    "load-model": "M6 0 1 6h3L3 10l6-6H6z",
    "unload-model": "M5 0 9 6H1zM1 8h8v2H1z",
    "stop-loading": "M1 1h8v8H1z",
    "stop-generation": "M1 1h8v8H1z",
    "retry": "M5 1a4 4 0 1 0 4 4H7.6A2.6 2.6 0 1 1 5 2.4V4l3-2.4L5-1z",
}
ANNOUNCED = 0.25  # a screen reader hears of every quarter of a load


class View:
    """The widget's parts, one method each; a method may answer None for "not now"."""

    sections: Sequence[str] = (
        "header",
        "model",
        "progress",
        "error",
        "memory",
        "statistics",
        "plot",
        "adapter",
        "controls",
        "models",
        "announcement",
    )
    compact_sections: Sequence[str] = ("header", "model", "progress", "error", "controls", "announcement")

    def render(self, snapshot: Snapshot, compact: bool = False) -> El:
        """The whole widget."""
        names = self.compact_sections if compact else self.sections
        made = [(name, getattr(self, name)(snapshot)) for name in names]
        return h(
            "section",
            [h("div", section, key=name, class_=f"llm-{name}") for name, section in made if section is not None],
            class_="llm-panel",
            part="panel",
            tabindex="-1",
            aria_label="Local LLM Runtime",
            data_state=state_of(snapshot),
            data_compact=compact,
        )

    def header(self, snapshot: Snapshot) -> El | None:
        state = state_of(snapshot)
        title = h("span", "⚡ Local LLM Runtime", class_="llm-title", part="title", role="heading", aria_level="3")
        return h("div", title, h("span", BADGES[state], class_="llm-badge", part="badge", data_state=state))

    def model(self, snapshot: Snapshot) -> El | None:
        return h("p", "Model: ", h("b", snapshot.model or "None", part="model"))

    def progress(self, snapshot: Snapshot) -> El | None:
        if not snapshot.loading:
            return None
        share = snapshot.progress
        bar = h(
            "progress",
            max="1",
            value=f"{share:.3f}",
            part="progress",
            aria_label=f"Loading {snapshot.model or 'the model'}",
        )
        return h("div", bar, h("p", _progress_text(snapshot), class_="llm-quiet"))

    def error(self, snapshot: Snapshot) -> El | None:
        said = (snapshot.error, snapshot.remedy), (snapshot.catalog_error, snapshot.catalog_remedy)
        error, remedy = next((each for each in said if each[0]), ("", ""))
        if not error:
            return None
        return h(
            "div",
            h("p", f"Error: {error}"),
            h("p", remedy, part="remedy") if remedy else None,
            _room_offer(snapshot.giving_way) if snapshot.error and snapshot.giving_way else None,
            role="alert",
            part="error",
        )

    def memory(self, snapshot: Snapshot) -> El | None:
        if not snapshot.ready:
            return None
        held, limit = snapshot.gpu_bytes, snapshot.gpu_limit_bytes
        if not limit:
            note = "WebGPU does not tell how much the GPU has."
            return h("p", f"GPU memory: {bytes_text(held)}. ", h("span", note, class_="llm-quiet"), part="memory")
        share = held / limit
        bar = h(
            "meter",
            min="0",
            max="1",
            high="0.9",
            value=f"{min(share, 1):.3f}",
            part="memory-bar",
            aria_label="GPU memory",
        )
        text = f"GPU Memory: {percent(share)} ({bytes_text(held)} of {bytes_text(limit)}). "
        note = h("span", f"The limit comes from {snapshot.gpu_limit_source}.", class_="llm-quiet")
        return h("div", bar, h("p", text, note), part="memory")

    def statistics(self, snapshot: Snapshot) -> El | None:
        if not snapshot.ready and not snapshot.generations:
            return None
        mean, seconds = snapshot.average_tokens_per_second, snapshot.average_seconds
        facts = (
            ("Inferences", f"{snapshot.generations}"),
            ("Tokens", f"{snapshot.tokens}"),
            ("Avg Speed", speed(mean) if mean else "–"),
            ("Avg Time", duration(seconds) if seconds is not None else "–"),
        )
        return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in facts], part="statistics")

    def plot(self, snapshot: Snapshot) -> El | None:
        speeds = snapshot.speeds
        if len(speeds) < 2:
            return None
        label = f"Tokens a second of the last {len(speeds)} generations: {speed(min(speeds))} to {speed(max(speeds))}"
        box = f"0 0 {PLOT_WIDTH} {PLOT_HEIGHT}"
        line = svg("polyline", points=_points(speeds), part="line")
        drawing = svg("svg", line, viewBox=box, role="img", part="plot", preserveAspectRatio="none")
        drawing = El(drawing.tag, {**drawing.attributes, "aria-label": label}, drawing.children, "", drawing.namespace)
        return h("div", drawing, h("p", f"Last {speed(speeds[-1])}", class_="llm-quiet"))

    def adapter(self, snapshot: Snapshot) -> El | None:
        if not snapshot.adapter:
            return None
        slow = " (software adapter: slow)" if snapshot.software_adapter else ""
        return h("p", f"Adapter: {snapshot.adapter}{slow}", class_="llm-quiet", part="adapter")

    def controls(self, snapshot: Snapshot) -> El | None:
        buttons = [
            h("button", *_face(control), type="button", data_action=control.id, part="button", class_="llm-button")
            for control in controls(snapshot)
        ]
        return h("div", buttons, role="group", aria_label="Controls", part="controls") if buttons else None

    def models(self, snapshot: Snapshot) -> El | None:
        if not snapshot.models:
            return None
        families: dict[str, list[ModelRow]] = {}
        for row in snapshot.models:
            families.setdefault(row.family, []).append(row)
        lists = [
            h(
                "div",
                h("p", family, class_="llm-family"),
                h("ul", [self.row(row, snapshot) for row in rows]),
                key=family,
            )
            for family, rows in families.items()
        ]
        summary = h("summary", f"Available Models ({len(snapshot.models)})")
        keeps = any(row.pinned is not None for row in snapshot.models)
        return h("details", summary, lists, _import_button() if keeps else None, part="models")

    def row(self, row: ModelRow, snapshot: Snapshot) -> El:
        """One line of the model list: the same tree for the same line, so that there is nothing to patch."""
        here = row.id == snapshot.model
        state = "Loaded" if here and snapshot.ready else "Loading" if here and snapshot.loading else ""
        return _line(row, state, snapshot.ready, snapshot.loading)

    def announcement(self, snapshot: Snapshot) -> El | None:
        """What a screen reader hears; it changes rarely, so that nobody is talked over."""
        return h("p", _announcement(snapshot), role="status", aria_live="polite", class_="llm-hidden")


def _face(control: Control) -> list[El | str]:
    """A drawn sign and the words of the label."""
    words = control.label.split(" ", 1)[-1]
    path = ICONS.get(control.id)
    if path is None:
        return [words]
    drawing = svg("svg", svg("path", d=path), viewBox="0 0 10 10", part="icon", **{"class": "llm-icon"})
    return [
        El(drawing.tag, {**drawing.attributes, "aria-hidden": "true"}, drawing.children, "", drawing.namespace),
        words,
    ]


def _room_offer(giving: Sequence[Giving]) -> list[El]:
    """The button deletes models, so they are named."""
    names = ", ".join(f"{one.name} ({bytes_text(one.nbytes)})" for one in giving)
    button = h(
        "button",
        "Delete and load",
        type="button",
        data_action="make-room",
        part="room-button",
        class_="llm-button",
        aria_label=f"Delete {names}, then load",
    )
    return [h("p", f"There is room without what was used longest ago: {names}."), button]


@lru_cache(maxsize=512)
def _line(row: ModelRow, state: str, ready: bool, loading: bool) -> El:
    """state: "Loaded", "Loading" or ""; ready, loading: whether any model is."""
    place, room = "on this device" if row.cached else "", "too large for the GPU" if row.fits is False else ""
    facts = " · ".join(filter(None, (_size(row), row.quantization, place, room, row.licence, row.reason)))
    button = h(
        "button",
        state or ("Switch" if ready else "Load"),
        type="button",
        data_action="switch-model",
        data_model=row.id,
        part="model-button",
        class_="llm-button",
        aria_label=f"{state or ('Switch to' if ready else 'Load')} {row.name} {row.quantization}".rstrip(),
        disabled=bool(state) or loading or not row.supported,
    )
    name = h("div", h("span", row.name), h("span", facts, class_="llm-quiet"))
    return h("li", name, button, _kept_buttons(row, bool(state)), key=row.id, aria_current="true" if state else None)


def _import_button() -> El:
    label = "Import a model from a file: it is kept on this device"
    return h(
        "button",
        "Import a file",
        type="button",
        data_action="import-model",
        part="import-button",
        class_="llm-button",
        aria_label=label,
    )


def _kept_buttons(row: ModelRow, used: bool) -> list[El]:
    """What can be done with a model that is on this device."""
    if not row.deletable:
        return []
    delete = _kept_button(row, "delete-model", "Delete", f"Delete {row.name} from this device", used)
    if row.pinned is None:
        return [delete]
    pin = (
        ("unpin-model", "Unpin", f"Let {row.name} give way") if row.pinned else ("pin-model", "Pin", f"Keep {row.name}")
    )
    save = _kept_button(row, "export-model", "Save", f"Save {row.name} to a file", not row.cached)
    return [_kept_button(row, *pin), save, delete]


def _kept_button(row: ModelRow, action: str, text: str, label: str, disabled: bool = False) -> El:
    return h(
        "button",
        text,
        type="button",
        data_action=action,
        data_model=row.id,
        part=f"{action.removesuffix('-model')}-button",
        class_="llm-button",
        aria_label=label,
        disabled=disabled,
        key=action,
    )


def _progress_text(snapshot: Snapshot) -> str:
    parts = [f"{percent(snapshot.progress)} loaded"]
    if snapshot.total_bytes:
        parts.append(f"{bytes_text(snapshot.loaded_bytes)} of {bytes_text(snapshot.total_bytes)}")
    if snapshot.bytes_per_second:
        parts.append(f"{bytes_text(snapshot.bytes_per_second)}/s")
    if snapshot.seconds_left is not None:
        parts.append(f"{duration(snapshot.seconds_left)} left")
    if snapshot.progress_text:
        parts.append(snapshot.progress_text)
    return " · ".join(part.replace(" ", "\u00a0") for part in parts)  # a line breaks between facts only


def _announcement(snapshot: Snapshot) -> str:
    state = state_of(snapshot)
    if state == "loading":
        quarter = int(snapshot.progress / ANNOUNCED) * ANNOUNCED
        return f"Loading {snapshot.model or 'the model'}, {percent(quarter)}"
    if state == "idle":
        return f"{snapshot.model} is ready"
    return "Generating" if state == "active" else ""


def _size(row: ModelRow) -> str:
    if row.nbytes is None:
        return ""
    return f"about {bytes_text(row.nbytes)}" if row.estimate else bytes_text(row.nbytes)


def _points(speeds: Sequence[float]) -> str:
    top = max(speeds) or 1.0
    step = (PLOT_WIDTH - 4) / (len(speeds) - 1)
    pairs = (
        (2 + step * place, PLOT_HEIGHT - 2 - (PLOT_HEIGHT - 4) * value / top) for place, value in enumerate(speeds)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
