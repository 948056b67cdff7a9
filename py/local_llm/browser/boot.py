"""Start-up in the page: the Host of this browser, and what boot.js calls when Python is up."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import js
from pyodide.ffi import create_proxy

from local_llm.browser.blobs import open_blobs
from local_llm.browser.bridge import MODULE
from local_llm.browser.device import open_device
from local_llm.browser.element import PageView
from local_llm.browser.face import Face
from local_llm.browser.store import BrowserStore
from local_llm.browser.tokenizer import tokenizer_opener
from local_llm.events import NAMES
from local_llm.gpu.ports import Host
from local_llm.page.chat import ChatPage
from local_llm.runtime import LocalLLM

DEFAULT_MODEL = "models/SmolLM2-135M-Instruct.Q4_1.gguf"  # beside local-llm.js


def host() -> Host:
    """The ports of this page (or worker)."""
    return Host(
        open_device=open_device,
        open_blobs=open_blobs,
        open_tokenizer=tokenizer_opener(_beside_site("tokenizers")),
        store=BrowserStore(),
        clock=time.perf_counter,
    )


def install() -> Any:
    """Make the service, tie its events to `window`, start the demo page where there is one; the JavaScript face."""
    bridge = import_module(MODULE)
    runtime = LocalLLM(host())
    model = str(js.URL.new(DEFAULT_MODEL, bridge.site).href)
    face = Face(runtime, model, bridge.emit)
    for name in NAMES:
        runtime.on(name, lambda detail, name=name: face.emit(name, detail))
    root = js.document.querySelector("[data-local-llm-page]")
    if root:  # JavaScript's null is not None
        wanted = js.URL.new(js.location.href).searchParams.get("model")
        ChatPage(runtime, PageView(root), str(wanted or model)).start()
    return bridge.makeService(face.names_json(), create_proxy(face.invoke))


def _beside_site(name: str) -> str | None:
    """The address of a file of the site, or None where the wheel was installed without one."""
    try:
        bridge = import_module(MODULE)
        return str(js.URL.new(getattr(bridge, name), bridge.site).href)
    except (ImportError, AttributeError):
        return None
