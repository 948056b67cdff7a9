"""A model to a file that a person saves, and from one that a person picks, for the widget. Knows no storage."""

from __future__ import annotations

import asyncio
from typing import Any

import js
from pyodide.ffi import create_proxy

from local_llm.errors import LocalLLMError

ACTIONS = ("export-model", "import-model")
_LASTING = 600_000  # ms that a saved file's address is good for


async def carry(service: Any, action: str, model: str | None) -> None:
    """Do one of ACTIONS. A failure is in the service's status by the time this returns."""
    try:
        if action == "export-model":
            _save(*await service.export_model(model))
        elif (file := await _picked()) is not None:
            await service.import_model(file)
    except LocalLLMError:
        return  # an error event told everybody


def _save(name: str, blob: Any) -> None:
    link = js.document.createElement("a")
    link.href, link.download = js.URL.createObjectURL(blob), name
    link.click()
    js.setTimeout(js.URL.revokeObjectURL.bind(js.URL, link.href), _LASTING)


async def _picked() -> Any | None:
    """The file that a person picks; None where there is none."""
    picker = js.document.createElement("input")
    picker.type, picker.accept = "file", ".gguf,.tar"
    done = asyncio.get_running_loop().create_future()
    heard = create_proxy(lambda event: None if done.done() else done.set_result(None))
    for name in ("change", "cancel"):
        picker.addEventListener(name, heard)
    picker.click()
    try:
        await done
    finally:
        heard.destroy()
    return picker.files.item(0) if picker.files.length else None
