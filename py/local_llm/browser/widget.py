"""<local-llm-widget> over the DOM: hooks, members and clicks of all widgets of a page. What they show, widget/ decides.

Python holds something of an element only while it is in the document; what must survive is kept by attributes and a
WeakMap.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import js
from pyodide.ffi import JsProxy, create_proxy, to_js

from local_llm.browser.face import camel
from local_llm.browser.foreign import ForeignService
from local_llm.browser.saving import ACTIONS, carry
from local_llm.catalog import stem
from local_llm.errors import LocalLLMError
from local_llm.widget.actions import act
from local_llm.widget.controller import Controller
from local_llm.widget.snapshot import Snapshot
from local_llm.widget.status import controls, widget_status
from local_llm.widget.tree import Mounted, mount, patch
from local_llm.widget.view import View

NAME = "local-llm-widget"
TEXTS = ("model", "src")  # attributes and properties
SWITCHES = ("autoload", "compact")  # present or not


def every(seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
    """A repeating timer of the page; the returned function ends it."""
    proxy = create_proxy(callback)
    timer = js.setInterval(proxy, 1000 * seconds)

    def stop() -> None:
        js.clearInterval(timer)
        proxy.destroy()

    return stop


class Panel:
    """What one connected element shows in its shadow root."""

    def __init__(self, element: Any, view: View, sheet: Any) -> None:
        self._element = element
        self._root = element.shadowRoot
        self._view = view
        self._mounted: Mounted | None = None
        self._status: dict[str, Any] | None = None
        self._root.adoptedStyleSheets = to_js([sheet])
        self.detach: Callable[[], None] = lambda: None
        self.only: frozenset[str] | None = None  # ids of the element's own catalogue
        self.fault: LocalLLMError | None = None  # why it could not be read

    def show(self, snapshot: Snapshot) -> None:
        """Bring the shadow root in line; tell the page where the status changed."""
        if self.only is not None:
            snapshot = _restricted(snapshot, self.only)
        if self.fault is not None:
            snapshot = replace(snapshot, catalog_error=self.fault.message, catalog_remedy=self.fault.remedy)
        tree = self._view.render(snapshot, self._element.hasAttribute("compact"))
        if self._mounted is None:
            self._mounted = mount(js.document, self._root, tree)
        else:
            focused = bool(self._root.activeElement)
            patch(js.document, self._mounted, tree)
            if focused and not self._root.activeElement:  # its button went away: stay in the widget
                self._mounted.node.focus()
        status = widget_status(snapshot)
        if status != self._status:
            self._status = status
            self._element.dispatchEvent(_event("local-llm:status", status))

    def close(self) -> None:
        self.detach()
        self._root.replaceChildren()


class Widgets:
    """All widgets of one page. service: behind those that were given no other by moduleApi."""

    def __init__(self, bridge: Any, service: Any, view: View | None = None) -> None:
        self._bridge = bridge
        self._service = service
        self._controller = Controller(service, every)
        self._view = view or View()
        self._sheet = js.CSSStyleSheet.new()
        self._sheet.replaceSync((files("local_llm.widget") / "widget.css").read_text(encoding="utf-8"))
        self._apis = js.WeakMap.new()  # element → the moduleApi it was given
        self._foreign: dict[int, Controller] = {}  # of connected widgets with a moduleApi
        self._panels: dict[int, Panel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.face: Any = None  # the JavaScript face of `service`

    def define(self, name: str = NAME) -> bool:
        """Register the element; elements that are in the page already wake up. False where the name is taken."""
        if js.customElements.get(name):
            return False
        made = self._bridge.elementClass(json.dumps([*TEXTS, *SWITCHES]), create_proxy(self._handle))
        prototype = made.prototype
        for member in ("getStatus", "getControls", "render"):
            setattr(prototype, member, create_proxy(getattr(self, f"_{member}"), capture_this=True))
        for member in TEXTS:
            self._property(prototype, member, self._text_reader(member), self._text_writer(member))
        for member in SWITCHES:
            self._property(prototype, member, self._switch_reader(member), self._switch_writer(member))
        self._property(prototype, "moduleApi", lambda this: self._apis.get(this), self._set_api)
        js.customElements.define(name, made)
        return True

    @property
    def connected(self) -> int:
        """Widgets in the document."""
        return len(self._panels)

    # Hooks

    def _handle(self, what: str, element: Any, detail: Any = None) -> Any:
        if what == "connected":
            self._connected(element)
        elif what == "disconnected":
            self._disconnected(element)
        elif what == "attribute":
            self._changed(element, str(detail))
        elif what == "click":
            target = detail.closest("[data-action]")
            if target:
                self._act_on(element, str(target.dataset.action), getattr(target.dataset, "model", None))
        elif what == "act":
            return self._act_on(element, str(detail))
        return None

    def _connected(self, element: Any) -> None:
        if element.js_id in self._panels or not element.isConnected:
            return
        self._take_early_properties(element)
        panel = Panel(element, self._view, self._sheet)
        self._panels[element.js_id] = panel
        self._attach(element, panel)
        self._start(self._open(element, panel))

    def _disconnected(self, element: Any) -> None:
        panel = self._panels.pop(element.js_id, None)
        if panel is not None:
            panel.close()
            self._prune()

    def _changed(self, element: Any, attribute: str) -> None:
        panel = self._panels.get(element.js_id)
        if panel is None:
            return
        if attribute in ("src", "model", "autoload"):
            self._start(self._open(element, panel))
        self._render(element)

    def _take_early_properties(self, element: Any) -> None:
        """What was set before the element woke up lies on the element itself, in front of our property."""
        for name in (*TEXTS, *SWITCHES, "moduleApi"):
            if js.Object.hasOwn(element, name):
                value = getattr(element, name)
                js.Reflect.deleteProperty(element, name)
                setattr(element, name, value)

    async def _open(self, element: Any, panel: Panel) -> None:
        """Read the element's catalogue, and load its model where it says so."""
        service = self._service_of(element)
        src, wanted = element.getAttribute("src"), str(element.getAttribute("model") or "")
        if not src and (panel.only is not None or panel.fault is not None):
            panel.only = panel.fault = None
            self._render(element)
        if src and hasattr(service, "load_catalog"):
            only, fault = panel.only, None
            try:
                only = frozenset(await service.load_catalog(str(js.URL.new(src, js.document.baseURI).href)))
            except LocalLLMError as error:
                fault = error
                js.console.error(str(error))
            if element.getAttribute("src") != src:  # another one has been asked for meanwhile
                return
            panel.only, panel.fault = only, fault
            self._controller_of(element).refresh()
        if not element.isConnected or not element.hasAttribute("autoload"):
            return
        status = service.status()
        if status.get("is_loading") or (status.get("is_ready") and stem(wanted) in ("", status.get("model"))):
            return
        await act(service, "load-model", wanted or None)

    # Members

    def _getStatus(self, this: Any) -> Any:  # noqa: N802, the blueprint's name
        return js.JSON.parse(json.dumps(camel(widget_status(self._controller_of(this).snapshot()))))

    def _getControls(self, this: Any) -> Any:  # noqa: N802, the blueprint's name
        found = js.Array.new()
        for control in controls(self._controller_of(this).snapshot()):
            item = js.Object.new()
            item.id, item.label = control.id, control.label
            item.action = this.doing(control.id)
            found.push(item)
        return found

    def _render(self, this: Any) -> None:
        panel = self._panels.get(this.js_id)
        if panel is not None:
            panel.show(self._controller_of(this).snapshot())

    def _act_on(self, this: Any, action: str, model: Any = None) -> Any:
        wanted = model or (this.getAttribute("model") if action == "load-model" else None)
        return self._start(self._acted(this, action, str(wanted) if wanted else None))

    async def _acted(self, element: Any, action: str, model: str | None) -> None:
        controller = self._controller_of(element)
        done = carry if action in ACTIONS else act
        work = asyncio.ensure_future(done(self._service_of(element), action, model))
        await asyncio.sleep(0)
        controller.refresh()
        await work
        controller.refresh()

    def _set_api(self, this: Any, api: Any) -> None:
        if isinstance(api, JsProxy) and api != self.face:
            self._apis.set(this, api)
        else:
            self._apis.delete(this)
        panel = self._panels.get(this.js_id)
        if panel is not None:
            panel.detach()
            self._attach(this, panel)
            self._prune()

    # Properties

    def _property(self, prototype: Any, name: str, get: Callable[..., Any], put: Callable[..., None]) -> None:
        descriptor = js.Object.new()
        descriptor.get = create_proxy(get, capture_this=True)
        descriptor.set = create_proxy(put, capture_this=True)
        descriptor.enumerable = descriptor.configurable = True
        js.Object.defineProperty(prototype, name, descriptor)

    def _text_reader(self, name: str) -> Callable[[Any], str]:
        return lambda this: str(this.getAttribute(name) or "")

    def _text_writer(self, name: str) -> Callable[[Any, Any], None]:
        return lambda this, value: this.setAttribute(name, str(value)) if value else this.removeAttribute(name)

    def _switch_reader(self, name: str) -> Callable[[Any], bool]:
        return lambda this: bool(this.hasAttribute(name))

    def _switch_writer(self, name: str) -> Callable[[Any, Any], None]:
        return lambda this, value: this.toggleAttribute(name, bool(value))

    # Services

    def _service_of(self, element: Any) -> Any:
        api = self._apis.get(element)
        return self._service if api is None else ForeignService(api)

    def _controller_of(self, element: Any) -> Controller:
        api = self._apis.get(element)
        if api is None:
            return self._controller
        return self._foreign.get(api.js_id) or Controller(ForeignService(api), every)

    def _attach(self, element: Any, panel: Panel) -> None:
        controller, api = self._controller_of(element), self._apis.get(element)
        if api is not None:
            self._foreign[api.js_id] = controller
        panel.detach = controller.attach(panel.show)

    def _prune(self) -> None:
        self._foreign = {key: one for key, one in self._foreign.items() if one.interval is not None}

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _restricted(snapshot: Snapshot, ids: frozenset[str]) -> Snapshot:
    return replace(snapshot, models=tuple(row for row in snapshot.models if row.id in ids))


def _event(name: str, status: Mapping[str, Any]) -> Any:
    options = js.JSON.parse(json.dumps({"detail": camel(status), "bubbles": True, "composed": True}))
    return js.CustomEvent.new(name, options)
