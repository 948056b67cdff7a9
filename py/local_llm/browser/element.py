"""The demo page's view over the DOM. Knows elements by their data-part; decides nothing.

Text goes in as text, never as HTML.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from local_llm.browser.dropped import dropped_files
from local_llm.widget.tree import El, Mounted, mount, patch

_NEAR = 160  # pixels from the end of the log within which a reader follows a growing answer


class PageView:
    """See page.view.View."""

    def __init__(self, root: Any) -> None:
        found = root.querySelectorAll("[data-part]")
        self._root = root
        self._parts = {str(part.dataset.part): part for part in found}
        self._mounted: dict[str, Mounted] = {}

    def on(self, part: str, event: str, callback: Callable[[], None]) -> None:
        def heard(raised: Any) -> None:
            raised.preventDefault()
            callback()

        self._parts[part].addEventListener(event, create_proxy(heard))

    def on_action(self, callback: Callable[[str, str], None]) -> None:
        def clicked(raised: Any) -> None:
            button = raised.target.closest("button[data-action]")
            if not button:  # JavaScript's null is not None
                return
            action = str(button.dataset.action)
            if action == "copy-code":
                callback(action, str(button.closest("figure").querySelector("code").textContent))
            else:
                callback(action, str(button.dataset.index))

        for part in ("log", "toasts"):
            self._parts[part].addEventListener("click", create_proxy(clicked))

    def on_drop(self, callback: Callable[[Sequence[Any]], None]) -> None:
        def over(raised: Any) -> None:
            if "Files" in list(raised.dataTransfer.types):
                raised.preventDefault()
                self._root.dataset.dropping = ""

        def left(raised: Any) -> None:
            if not raised.relatedTarget:
                self._root.removeAttribute("data-dropping")

        def dropped(raised: Any) -> None:
            self._root.removeAttribute("data-dropping")
            if "Files" in list(raised.dataTransfer.types):
                raised.preventDefault()
                found = dropped_files(raised.dataTransfer)  # what was dropped is gone after this event
                task = asyncio.ensure_future(found)
                task.add_done_callback(lambda task: callback(task.result()))

        for event, heard in (("dragover", over), ("dragleave", left), ("drop", dropped)):
            js.document.addEventListener(event, create_proxy(heard))

    def set_text(self, part: str, text: str) -> None:
        self._parts[part].textContent = text

    def set_phase(self, phase: str) -> None:
        self._root.dataset.phase = phase
        self._parts["log"].setAttribute("aria-busy", "true" if phase == "generating" else "false")

    def set_progress(self, fraction: float) -> None:
        self._parts["progress"].value = fraction

    def enable(self, part: str, enabled: bool) -> None:
        self._parts[part].disabled = not enabled

    def value(self, part: str) -> str:
        return str(self._parts[part].value)

    def set_value(self, part: str, text: str) -> None:
        self._parts[part].value = text

    def focus(self, part: str) -> None:
        self._parts[part].focus()

    def picked_files(self) -> Sequence[Any]:
        picker = self._parts["file"]
        files = [picker.files.item(number) for number in range(picker.files.length)]
        picker.value = ""  # the same file again is a change, too
        return files

    def widget_model(self, model: str) -> None:
        self._parts["widget"].setAttribute("model", model)

    def show_log(self, tree: El, to_end: bool) -> None:
        log = self._parts["log"]
        follow = to_end or log.scrollHeight - log.scrollTop - log.clientHeight < _NEAR
        self._show("log", tree)
        if follow:
            log.scrollTop = log.scrollHeight

    def show_toasts(self, tree: El) -> None:
        self._show("toasts", tree)

    def _show(self, part: str, tree: El) -> None:
        if part in self._mounted:
            patch(js.document, self._mounted[part], tree)
        else:
            self._mounted[part] = mount(js.document, self._parts[part], tree)

    async def copy(self, text: str) -> bool:
        try:
            await js.navigator.clipboard.writeText(text)
        except (JsException, AttributeError):
            return False
        return True

    def download(self, name: str, kind: str, text: str) -> None:
        options = js.Object.new()
        options.type = f"{kind};charset=utf-8"
        link = js.document.createElement("a")
        link.href = js.URL.createObjectURL(js.Blob.new(to_js([text]), options))
        link.download = name
        link.click()
        js.setTimeout(create_proxy(lambda: js.URL.revokeObjectURL(link.href)), 10_000)
