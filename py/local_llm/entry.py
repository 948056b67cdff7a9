"""Where the runtime meets its host: the only place that asks where it runs."""

from __future__ import annotations

import sys
from typing import Any

from local_llm.gpu.ports import Host
from local_llm.service import Service


def default_host() -> Host:
    """The browser's ports in Pyodide, Dawn's in CPython."""
    if sys.platform == "emscripten":
        from local_llm.browser.boot import host
    else:
        from local_llm.native.host import host
    return host()


class LocalLLM(Service):
    """A private language model on this device's GPU. See runtime.LocalLLM and service.Service for its methods."""

    def __init__(self, host: Host | None = None, **given: Any) -> None:
        super().__init__(host or default_host(), **given)
