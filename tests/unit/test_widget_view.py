"""The widget's look as a tree: what each state shows, what a screen reader gets, and that a view can be changed."""

from __future__ import annotations

from dataclasses import replace
from xml.dom.minidom import getDOMImplementation

import pytest

from local_llm.widget.snapshot import Giving, ModelRow, Snapshot
from local_llm.widget.tree import El, find_all, h, mount, text_of
from local_llm.widget.view import View

ROWS = (
    ModelRow("a", "Alpha", "One", 98_362_432, False, "Q4_1", "Apache-2.0"),
    ModelRow("b", "Beta", "Two", 1_000_000_000, True, "Q8_0", "MIT"),
    ModelRow("c", "Gamma", "Two", None, True, "IQ1_S", "", False, "Tensor type IQ1_S is not supported yet."),
)
READY = Snapshot(
    ready=True,
    model="a",
    gpu_bytes=113_000_000,
    adapter="NVIDIA H100",
    generations=3,
    tokens=90,
    average_tokens_per_second=31.26,
    average_seconds=1.5,
    speeds=(10.0, 30.0, 20.0),
    models=ROWS,
)
LOADING = Snapshot(
    loading=True,
    model="a",
    progress=0.4321,
    progress_text="Loading weights",
    loaded_bytes=42_100_000,
    total_bytes=98_400_000,
    bytes_per_second=12e6,
    seconds_left=4.7,
    models=ROWS,
)
FAILED = Snapshot(error="No GPU.", remedy="Enable it.", models=ROWS)


def every(item: El | str) -> list[El]:
    return [] if isinstance(item, str) else [item, *(one for child in item.children for one in every(child))]


def tags(item: El, tag: str) -> list[El]:
    return [one for one in every(item) if one.tag == tag]


def xml(item: El) -> str:
    implementation = getDOMImplementation()
    assert implementation is not None
    document = implementation.createDocument(None, "root", None)
    return mount(document, document.documentElement, item).node.toxml()


def test_nothing_loaded():
    view = View().render(Snapshot(models=ROWS))
    assert "○ Not Loaded" in text_of(view)
    assert "Model:  None" in text_of(view)
    assert not tags(view, "progress")
    assert [button.attributes["data-action"] for button in find_all(view, part="button")] == ["load-model"]


def test_loading_shows_bytes_rate_and_time_left():
    view = View().render(LOADING)
    (bar,) = tags(view, "progress")
    assert (bar.attributes["value"], bar.attributes["max"]) == ("0.432", "1")
    assert bar.attributes["aria-label"] == "Loading a"
    assert "43% loaded · 42.1 MB of 98.4 MB · 12.0 MB/s · 4.7 s left · Loading weights" in text_of(view).replace(
        "\u00a0", " "
    )
    rows = find_all(view, data_action="switch-model")
    assert len(rows) == 3
    assert all("disabled" in button.attributes for button in rows)
    assert [button.attributes["data-action"] for button in find_all(view, part="button")] == ["stop-loading"]


def test_ready_shows_memory_statistics_and_adapter():
    text = text_of(View().render(READY))
    for part in ("✓ Ready", "GPU memory: 113 MB", "Inferences 3", "Tokens 90", "31.3 tok/s", "1.5 s", "NVIDIA H100"):
        assert part in text
    assert "software" not in text
    assert "software adapter" in text_of(View().render(replace(READY, software_adapter=True)))


def test_memory_is_a_meter_only_where_a_limit_is_known():
    assert not tags(View().render(READY), "meter")
    assert "WebGPU does not tell" in text_of(View().render(READY))
    view = View().render(replace(READY, gpu_limit_bytes=226_000_000, gpu_limit_source="the budget that this page set"))
    (meter,) = tags(view, "meter")
    assert meter.attributes["value"] == "0.500"
    assert "GPU Memory: 50% (113 MB of 226 MB)" in text_of(view)
    assert "The limit comes from the budget that this page set." in text_of(view)


def test_the_plot_stays_in_its_frame():
    (line,) = tags(View().render(READY), "polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attributes["points"].split()]
    assert points == [(2.0, pytest.approx(31.3)), (120.0, 2.0), (238.0, pytest.approx(16.7, abs=0.1))]
    (drawing,) = find_all(View().render(READY), part="plot")
    assert drawing.attributes["aria-label"] == "Tokens a second of the last 3 generations: 10.0 tok/s to 30.0 tok/s"
    assert not tags(View().render(replace(READY, speeds=(1.0,))), "polyline")
    assert tags(View().render(replace(READY, speeds=(0.0, 0.0))), "polyline")


def test_models_that_are_kept_can_be_pinned_and_saved():
    row = ModelRow("a", "A", "F", cached=True, deletable=True, pinned=False)
    half = replace(row, id="b", cached=False, pinned=True)
    others = [replace(row, id="c", pinned=None), ModelRow("d", "D", "F", pinned=None)]
    view = View().render(Snapshot(models=(row, half, *others)))
    found = {
        (one.attributes["data-action"], one.attributes["data-model"]): "disabled" in one.attributes
        for action in ("pin-model", "unpin-model", "export-model")
        for one in find_all(view, data_action=action)
    }
    assert found == {
        ("pin-model", "a"): False,
        ("unpin-model", "b"): False,
        ("export-model", "a"): False,
        ("export-model", "b"): True,
    }
    assert len(find_all(view, data_action="import-model")) == 1
    assert find_all(View().render(Snapshot(models=tuple(others))), data_action="import-model") == []


def test_a_row_tells_what_is_on_the_device_and_what_can_be_deleted():
    rows = (
        ModelRow("a", "Alpha", "One", cached=True, deletable=True),
        ModelRow("b", "Beta", "One", cached=True, deletable=True),
        ModelRow("c", "Gamma", "One", fits=False),
    )
    view = View().render(replace(READY, models=rows))
    buttons = {one.attributes["data-model"]: one for one in find_all(view, data_action="delete-model")}
    assert {name: "disabled" in one.attributes for name, one in buttons.items()} == {"a": True, "b": False}
    assert buttons["b"].attributes["aria-label"] == "Delete Beta from this device"
    assert text_of(view).count("on this device") == 2
    assert text_of(view).count("too large for the GPU") == 1


def test_the_model_list_is_grouped_and_says_what_can_be_done():
    view = View().render(READY)
    assert [text_of(one) for one in find_all(view, class_="llm-family")] == ["One", "Two"]
    buttons = {button.attributes["data-model"]: button for button in find_all(view, data_action="switch-model")}
    assert [text_of(buttons[name]) for name in "abc"] == ["Loaded", "Switch", "Switch"]
    assert ["disabled" in buttons[name].attributes for name in "abc"] == [True, False, True]
    text = text_of(view)
    assert "98.4 MB · Q4_1 · Apache-2.0" in text
    assert "about 1.00 GB · Q8_0 · MIT" in text
    assert "Tensor type IQ1_S is not supported yet." in text
    (current,) = find_all(view, aria_current="true")
    assert "Alpha" in text_of(current)


def test_an_error_comes_with_its_remedy():
    view = View().render(FAILED)
    (alert,) = find_all(view, role="alert")
    assert text_of(alert) == "Error: No GPU. Enable it."
    assert [button.attributes["data-action"] for button in find_all(view, part="button")] == ["retry", "load-model"]


def test_a_line_that_did_not_change_is_the_same_tree():
    for row in ROWS:
        assert View().row(row, LOADING) is View().row(replace(row), replace(LOADING, progress=0.9))
    assert View().row(ROWS[0], LOADING) != View().row(ROWS[0], READY)


def test_a_load_without_room_offers_what_would_give_way():
    giving = (Giving("https://x/a", "<Alpha>", 98_000_000), Giving("b", "Beta", 2_000))
    assert find_all(View().render(FAILED), data_action="make-room") == []
    for compact in (False, True):
        view = View().render(replace(FAILED, giving_way=giving), compact)
        assert "used longest ago: <Alpha> (98.0 MB), Beta (2.00 KB)." in text_of(view)
        [button] = find_all(view, data_action="make-room")
        assert button.attributes["aria-label"] == "Delete <Alpha> (98.0 MB), Beta (2.00 KB), then load"
    assert find_all(View().render(replace(READY, giving_way=giving)), data_action="make-room") == []


def test_markup_in_names_and_errors_stays_text():
    evil = '<img src=x onerror="alert(1)">'
    row = ModelRow(evil, evil, evil, 1, False, evil, evil, False, evil)
    for snapshot in (
        Snapshot(error=evil, remedy=evil, models=(row,)),
        Snapshot(loading=True, model=evil, progress_text=evil),
        Snapshot(ready=True, model=evil, adapter=evil, gpu_limit_bytes=1, gpu_limit_source=evil),
    ):
        view = View().render(snapshot)
        assert evil in text_of(view)
        assert not tags(view, "img")
        assert "<img" not in xml(view)


@pytest.mark.parametrize("snapshot", [Snapshot(), LOADING, READY, FAILED])
@pytest.mark.parametrize("compact", [False, True])
def test_a_strict_policy_can_host_it(snapshot, compact):
    for item in every(View().render(snapshot, compact)):
        assert item.tag not in ("style", "script", "iframe", "img", "a")
        for name in item.attributes:
            assert name != "style"
            assert not name.startswith("on")


@pytest.mark.parametrize("snapshot", [Snapshot(models=ROWS), LOADING, READY, FAILED])
def test_everything_that_acts_has_a_name_for_a_screen_reader(snapshot):
    view = View().render(snapshot)
    assert view.attributes["aria-label"] == "Local LLM Runtime"
    for button in tags(view, "button"):
        assert button.attributes["type"] == "button"
        assert button.attributes.get("aria-label") or text_of(button)
    (spoken,) = find_all(view, aria_live="polite")
    assert spoken.attributes["role"] == "status"


def test_a_screen_reader_hears_quarters_only():
    spoken = {
        text_of(find_all(View().render(replace(LOADING, progress=step / 100)), role="status")[0]) for step in range(101)
    }
    assert spoken == {f"Loading a, {share}%" for share in (0, 25, 50, 75, 100)}


def test_compact_leaves_out_the_rest():
    view = View().render(READY, compact=True)
    assert "data-compact" in view.attributes
    assert not tags(view, "details")
    assert find_all(view, data_action="unload-model")


def test_a_section_can_be_replaced():
    class Mine(View):
        sections = ("header", "poem")

        def header(self, snapshot):
            return None

        def poem(self, snapshot):
            return h("p", f"Oh {snapshot.model}")

    assert text_of(Mine().render(READY)) == "Oh a"
