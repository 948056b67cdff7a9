"""What was dropped onto the page: files, and all files of folders, as if a folder had been chosen. Knows no model."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import js
from pyodide.ffi import to_js


def dropped_files(transfer: Any) -> Awaitable[Sequence[Any]]:
    """Files of a DataTransfer. To be called while the event is handled; may be awaited later."""
    items = [transfer.items[number] for number in range(transfer.items.length)]
    entries = [item.webkitGetAsEntry() for item in items if item.kind == "file"]
    plain = [transfer.files.item(number) for number in range(transfer.files.length)]
    folders = any(entry and entry.isDirectory for entry in entries)  # JavaScript's null is not None
    return _all_files(entries if folders else [], plain)


async def _all_files(entries: Sequence[Any], plain: Sequence[Any]) -> Sequence[Any]:
    if not entries:
        return plain
    found: list[Any] = []
    waiting = list(entries)
    while waiting:
        entry = waiting.pop(0)
        if entry.isFile:
            file = await js.Promise.new(entry.file.bind(entry))
            path = {"value": str(entry.fullPath).lstrip("/")}
            js.Object.defineProperty(
                file, "webkitRelativePath", to_js(path, dict_converter=js.Object.fromEntries)
            )  # an input's folder has it, a dropped one's files do not
            found.append(file)
            continue
        reader = entry.createReader()
        while (some := await js.Promise.new(reader.readEntries.bind(reader))).length:  # a hundred at a time
            waiting += list(some)
    return found
