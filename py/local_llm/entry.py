"""Where the runtime meets its host: the only place that asks where it runs."""

from __future__ import annotations

import sys

from local_llm import runtime
from local_llm.gpu.ports import Host


def default_host() -> Host:
    """The browser's ports in Pyodide, Dawn's in CPython."""
    if sys.platform == "emscripten":
        from local_llm.browser.boot import host
    else:
        from local_llm.native.host import host
    return host()


class LocalLLM(runtime.LocalLLM):
    """A private language model on this device's GPU. See runtime.LocalLLM for its methods."""

    def __init__(self, host: Host | None = None) -> None:
        super().__init__(host or default_host())
