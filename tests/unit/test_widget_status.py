"""What a dashboard reads of a widget: five fields in every state, and the buttons that each state allows."""

from __future__ import annotations

import pytest

from local_llm.widget.amounts import bytes_text, duration, percent, speed
from local_llm.widget.snapshot import Giving, Snapshot, read_snapshot
from local_llm.widget.status import STATES, controls, state_of, widget_status

FIELDS = {"state", "primary_metric", "secondary_metric", "last_activity", "message"}
SITUATIONS = {
    "disabled": Snapshot(),
    "loading": Snapshot(loading=True, model="m", progress=0.42, progress_text="Loading weights"),
    "active": Snapshot(ready=True, generating=True, model="m", gpu_bytes=113_000_000),
    "idle": Snapshot(ready=True, model="m", gpu_bytes=113_000_000, last_activity=1_790_000_000_000),
    "error": Snapshot(error="No GPU.", remedy="Buy one."),
}


def test_every_state_is_tested():
    assert set(SITUATIONS) == set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_all_five_fields_are_always_there(state):
    status = widget_status(SITUATIONS[state])
    assert set(status) == FIELDS
    assert status["state"] == state
    assert isinstance(status["primary_metric"], str)
    assert isinstance(status["secondary_metric"], str)


def test_the_fields_say_what_is_going_on():
    assert widget_status(SITUATIONS["disabled"]) == {
        "state": "disabled",
        "primary_metric": "Not loaded",
        "secondary_metric": "0% loaded",
        "last_activity": None,
        "message": None,
    }
    loading = widget_status(SITUATIONS["loading"])
    assert (loading["primary_metric"], loading["secondary_metric"]) == ("m", "42% loaded")
    assert loading["message"] == "Loading model... Loading weights"
    idle = widget_status(SITUATIONS["idle"])
    assert (idle["secondary_metric"], idle["last_activity"]) == ("GPU: 113 MB", 1_790_000_000_000)
    assert widget_status(SITUATIONS["error"])["message"] == "Error: No GPU. Buy one."


def test_a_known_limit_makes_a_share():
    snapshot = Snapshot(ready=True, gpu_bytes=25, gpu_limit_bytes=100)
    assert widget_status(snapshot)["secondary_metric"] == "GPU: 25%"


def test_loading_anew_is_not_an_error():
    assert state_of(Snapshot(loading=True, error="old")) == "loading"


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        ("disabled", ["load-model"]),
        ("loading", ["stop-loading"]),
        ("active", ["stop-generation"]),
        ("idle", ["unload-model"]),
        ("error", ["retry", "load-model"]),
    ],
)
def test_controls(state, ids):
    assert [control.id for control in controls(SITUATIONS[state])] == ids


def test_the_blueprints_labels():
    labels = {control.id: control.label for state in STATES for control in controls(SITUATIONS[state])}
    assert labels["load-model"] == "⚡ Load Model"
    assert labels["unload-model"] == "⛶ Unload Model"


def test_a_status_with_holes_is_read():
    assert read_snapshot({}) == Snapshot()
    odd = {"progress": float("nan"), "gpu_bytes": None, "statistics": None, "gpu_limit": 3, "model": 7}
    odd |= {"giving_way": 3}
    assert read_snapshot(odd) == Snapshot(model="7")
    assert read_snapshot({"progress": 7}).progress == 1.0


def test_a_full_status_is_read():
    status = {
        "is_loading": True,
        "loading_model": "m",
        "progress": 0.5,
        "loaded_bytes": 5,
        "total_bytes": 10,
        "seconds_left": 2,
        "giving_way": [{"model": "https://x/a", "nbytes": 3}, None],
        "gpu_limit": {"bytes": 9, "source": "s"},
        "statistics": {
            "generations": 2,
            "seconds": 3.0,
            "tokens": 8,
            "average_tokens_per_second": 4.0,
            "speeds": [3, 5],
        },
    }
    snapshot = read_snapshot(
        status, [{"id": "a", "estimated_bytes": 7}, {"id": "b", "supported": False, "reason": "r"}]
    )
    assert (snapshot.model, snapshot.seconds_left, snapshot.gpu_limit_bytes) == ("m", 2.0, 9)
    assert snapshot.giving_way == (Giving("https://x/a", "https://x/a", 3),)
    assert (snapshot.average_seconds, snapshot.speeds) == (1.5, (3.0, 5.0))
    assert [(row.name, row.nbytes, row.supported) for row in snapshot.models] == [("a", 7, True), ("b", None, False)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (bytes_text(0), "0 bytes"),
        (bytes_text(999), "999 bytes"),
        (bytes_text(999.7), "1.00 KB"),
        (bytes_text(98_362_432), "98.4 MB"),
        (bytes_text(999_950_000), "1.00 GB"),
        (bytes_text(2_497_280_256), "2.50 GB"),
        (bytes_text(-5), "0 bytes"),
        (percent(0.756), "76%"),
        (percent(0.999), "99%"),
        (percent(1.0), "100%"),
        (percent(1.2), "120%"),
        (duration(0.42), "0.4 s"),
        (duration(9.96), "10 s"),
        (duration(75), "1 min 15 s"),
        (duration(59.7), "1 min"),
        (duration(3725), "1 h 2 min"),
        (speed(31.26), "31.3 tok/s"),
        (speed(1216.4), "1216 tok/s"),
    ],
)
def test_amounts(text, wanted):
    assert text == wanted
