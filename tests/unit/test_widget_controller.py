"""The refresh: at once on events, one timer whose pace follows the state, and nothing left behind."""

from __future__ import annotations

import logging

import pytest

from local_llm.errors import Busy, NotReady
from local_llm.events import Events
from local_llm.widget.actions import act
from local_llm.widget.controller import EVENTS, Controller


class Service:
    """A service whose state a test sets."""

    def __init__(self) -> None:
        self.events = Events()
        self.state: dict = {}
        self.done: list = []
        self.listed = 0  # times that the list of models was asked for
        self.on = self.events.on

    def status(self):
        return dict(self.state)

    def available_models(self):
        self.listed += 1
        return [{"id": f"{self.listed}"}]

    @property
    def listeners(self) -> int:
        return sum(len(callbacks) for callbacks in self.events._callbacks.values())

    async def init(self, model=None):
        self.done.append(("init", model))

    async def switch_model(self, model):
        self.done.append(("switch", model))

    async def retry(self):
        raise NotReady("No.")

    async def unload(self):
        raise RuntimeError("a defect")

    def interrupt(self):
        self.done.append("interrupt")


class Timers:
    """Repeating timers that a test winds on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.running: list = []
        self.made = 0

    def every(self, seconds, callback):
        entry = [seconds, callback, self.now + seconds]
        self.running.append(entry)
        self.made += 1
        return lambda: self.running.remove(entry)

    def advance(self, seconds):
        end = self.now + seconds
        while due := [entry for entry in self.running if entry[2] <= end]:
            entry = min(due, key=lambda one: one[2])
            self.now = entry[2]
            entry[2] += entry[0]
            entry[1]()
        self.now = end


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def timers():
    return Timers()


@pytest.fixture
def controller(service, timers):
    return Controller(service, timers.every, lambda: timers.now)


def test_the_pace_follows_the_state(service, timers, controller):
    seen = []
    controller.attach(seen.append)
    assert (len(seen), controller.interval) == (1, 5.0)
    timers.advance(10)
    assert len(seen) == 3
    service.state = {"is_loading": True}
    service.events.emit("loading", model="m")
    assert (len(seen), controller.interval, len(timers.running)) == (4, 0.5, 1)
    timers.advance(2)
    assert len(seen) == 8
    service.state = {"is_ready": True}
    service.events.emit("ready", model="m")
    assert (seen[-1].ready, controller.interval, len(timers.running)) == (True, 5.0, 1)


def test_a_change_without_an_event_is_seen_by_the_timer(service, timers, controller):
    seen = []
    controller.attach(seen.append)
    service.state = {"is_loading": True}
    timers.advance(5)
    assert (seen[-1].loading, controller.interval) == (True, 0.5)


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_shows_at_once(service, controller, name):
    seen = []
    controller.attach(seen.append)
    service.state = {"gpu_bytes": 7}
    service.events.emit(name)
    assert seen[-1].gpu_bytes == 7


def test_progress_is_thinned_to_ten_a_second(service, timers, controller):
    seen = []
    controller.attach(seen.append)
    for _ in range(100):
        timers.now += 0.01
        service.events.emit("progress", progress=0.1)
    assert 9 <= len(seen) - 1 <= 11


def test_progress_does_not_ask_for_the_list_of_models(service, timers, controller):
    seen = []
    controller.attach(seen.append)
    service.state = {"progress": 0.5}
    service.events.emit("progress", progress=0.5)
    assert (service.listed, seen[-1].progress, seen[-1].models) == (1, 0.5, seen[0].models)
    service.events.emit("storage-changed", models=1, kept_bytes=1)
    assert [row.id for row in seen[-1].models] == ["2"]


def test_many_views_share_listeners_and_timer(service, timers, controller):
    seen = []
    offs = [controller.attach(seen.append) for _ in range(5)]
    assert (service.listeners, len(timers.running)) == (len(EVENTS), 1)
    service.events.emit("ready", model="m")
    assert len(seen) == 10
    for off in offs[:-1]:
        off()
    assert len(timers.running) == 1
    offs[-1]()
    assert (service.listeners, len(timers.running), controller.interval) == (0, 0, None)


def test_two_hundred_times_leaves_nothing(service, timers, controller):
    for _ in range(200):
        off = controller.attach(lambda snapshot: None)
        off()
        off()
    assert (service.listeners, len(timers.running), len(controller._views)) == (0, 0, 0)
    controller.attach(lambda snapshot: None)
    assert (service.listeners, len(timers.running)) == (len(EVENTS), 1)


def test_a_view_may_leave_while_it_is_told(service, timers, controller):
    offs = []
    offs.append(controller.attach(lambda snapshot: offs and offs[0]()))
    service.events.emit("ready", model="m")
    assert (service.listeners, len(timers.running)) == (0, 0)


def test_a_broken_view_breaks_nothing_else(service, controller, caplog):
    seen = []

    def broken(snapshot):
        raise ValueError("oh")

    with caplog.at_level(logging.CRITICAL):
        controller.attach(broken)
        controller.attach(seen.append)
        service.events.emit("ready", model="m")
    assert len(seen) == 2


async def test_actions(service, caplog):
    await act(service, "load-model")
    await act(service, "load-model", "m")
    await act(service, "switch-model", "n")
    await act(service, "stop-generation")
    await act(service, "unheard-of")
    await act(service, "retry")  # a known error is in the status already
    assert service.done == [("init", None), ("init", "m"), ("switch", "n"), "interrupt"]
    assert not caplog.records
    await act(service, "unload-model")
    assert "unload-model" in caplog.text


class Shelf(Service):
    """A service that keeps models, of which "used" is in use."""

    async def delete_model(self, model):
        if model == "used":
            raise Busy("It is in use.")
        self.done.append(("delete", model))

    async def pin_model(self, model, pinned=True):
        self.done.append(("pin", model, pinned))

    async def retry(self):
        self.done.append("retry")


async def test_making_room_deletes_what_was_named_and_loads_again():
    service = Shelf()
    await act(service, "make-room")  # nothing is offered
    assert service.done == []
    service.state["giving_way"] = [{"model": "https://x/a", "name": "a", "nbytes": 1}, {"model": "b", "name": "B"}]
    await act(service, "make-room")
    assert service.done == [("delete", "https://x/a"), ("delete", "b"), "retry"]
    service.state["giving_way"] = [{"model": "used"}, {"model": "b"}]
    await act(service, "make-room")
    assert len(service.done) == 3
