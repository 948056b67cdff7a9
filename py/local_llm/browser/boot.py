"""Start-up in the page: the Host of this browser, and what boot.js calls when Python is up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import js
from pyodide.ffi import create_proxy

from local_llm.browser.blobs import open_blobs
from local_llm.browser.bridge import MODULE
from local_llm.browser.device import open_device
from local_llm.browser.face import Face, camel
from local_llm.browser.injected import event_bus, state_manager
from local_llm.browser.library import Library
from local_llm.browser.store import BrowserStore
from local_llm.browser.tokenizer import tokenizer_opener
from local_llm.browser.widget import Widgets
from local_llm.catalog import built_in
from local_llm.events import NAMES
from local_llm.gpu.ports import Host, Store
from local_llm.service import Service


def host() -> Host:
    """The ports of this page (or worker)."""
    return Host(
        open_device=open_device,
        open_blobs=open_blobs,
        open_tokenizer=tokenizer_opener(_beside_site("tokenizers")),
        store=BrowserStore(),
        clock=time.perf_counter,
        storage=Library(),
    )


def install() -> Any:
    """Make the service, tie its events to the page, define the widget, start the demo page; the JavaScript face."""
    bridge = import_module(MODULE)
    ports, kept = host(), state_manager()
    service = Service(ports, catalog=built_in(str(bridge.site)), state_manager=kept)
    face = Face(service, _emitter(bridge))
    for name in NAMES:
        service.on(name, lambda detail, name=name: face.emit(name, detail))
    service.look_at_storage()
    root = js.document.querySelector("[data-local-llm-page]")
    if root:  # JavaScript's null is not None
        _start_page(root, service, kept or ports.store)
    widgets = Widgets(bridge, service)
    widgets.face = bridge.makeService(face.names_json(), create_proxy(face.invoke))
    widgets.face.widget = js.JSON.parse(json.dumps(camel(service.widget)))
    widgets.define()
    return widgets.face


def _start_page(root: Any, service: Service, store: Store) -> None:
    """The demo page; no other page pays for its imports."""
    from local_llm.browser.element import PageView
    from local_llm.page.chat import ChatPage

    wanted = js.URL.new(js.location.href).searchParams.get("model")
    ChatPage(service, PageView(root), store, str(wanted) if wanted else None).start()


def _emitter(bridge: Any) -> Callable[[str, str], None]:
    """Tells `window`, and the page's own event bus where it gave one."""
    bus = event_bus()

    def emit(name: str, detail: str) -> None:
        bridge.emit(name, detail)
        if bus is not None:
            bus.emit(name, js.JSON.parse(detail))

    return emit


def _beside_site(name: str) -> str | None:
    """The address of a file of the site, or None where there is no site or it has none: the wheel has a copy."""
    try:
        bridge = import_module(MODULE)
        path = getattr(bridge, name)
        return str(js.URL.new(path, bridge.site).href) if path else None
    except (ImportError, AttributeError):
        return None
