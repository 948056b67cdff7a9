"""Folders in the browser's database (IndexedDB), see folders.py: for where there is no private file system.

One store of records; their keys are [folder, name]. Knows no model and no URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from local_llm.browser.folders import Folder, full
from local_llm.browser.vault import Refused

_NAME = "local-llm-models"
_STORE = "files"


async def open_indexed() -> IndexedFolder | str:
    """The folder where models lie, or why this page can have none."""
    if not getattr(js, "indexedDB", None):
        return "It has no database (IndexedDB) either."
    try:
        opening = js.indexedDB.open(_NAME, 1)
        made = create_proxy(lambda event: opening.result.createObjectStore(_STORE))
        opening.onupgradeneeded = made
        try:
            return IndexedFolder(await _outcome(opening, "success", ("error", "blocked")), "")
        finally:
            made.destroy()
    except (JsException, Refused) as error:
        return f"It refuses its database, too ({error.name})."


class IndexedFolder(Folder):
    """See Folder. name: "" is the root, which has folders only."""

    kind = "indexeddb"

    def __init__(self, database: Any, name: str) -> None:
        self._database = database
        self._name = name

    async def folder(self, name: str) -> IndexedFolder:
        return IndexedFolder(self._database, name)

    async def names(self) -> list[str]:
        range_ = _all_of(self._name) if self._name else None
        keys = await self._ask("readonly", lambda store: store.getAllKeys(range_))
        place = 1 if self._name else 0
        return list(dict.fromkeys(str(key[place]) for key in keys))

    async def read(self, name: str) -> Any | None:
        return await self._ask("readonly", lambda store: store.get(self._key(name))) or None

    async def write(self, name: str, data: Any) -> None:
        data = to_js(data.encode()) if isinstance(data, str) else data
        writing = asyncio.ensure_future(self._ask("readwrite", lambda store: store.put(data, self._key(name))))
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.shield(writing)
        except Refused as error:
            if error.name != "QuotaExceededError":
                raise
            raise full() from None

    async def remove(self, name: str) -> None:
        gone = self._key(name) if self._name else _all_of(name)
        await self._ask("readwrite", lambda store: store.delete(gone))

    def _key(self, name: str) -> Any:
        return to_js([self._name, name])

    async def _ask(self, mode: str, work: Callable[[Any], Any]) -> Any:
        """The result of one request, when it lasts."""
        transaction = self._database.transaction(_STORE, mode)
        request = work(transaction.objectStore(_STORE))
        await _outcome(transaction, "complete", ("abort",))
        return request.result


def _all_of(folder: str) -> Any:
    """Keys of all files of a folder: a list sorts behind every text."""
    return js.IDBKeyRange.bound(to_js([folder]), to_js([folder, []]))


async def _outcome(target: Any, good: str, bad: tuple[str, ...]) -> Any:
    """Wait until a request or transaction ends; the request's result. Raises its error."""
    done = asyncio.get_running_loop().create_future()

    def ended(event: Any) -> None:
        if done.done():
            return
        if str(event.type) == good:
            done.set_result(None)
        else:
            error = target.error
            done.set_exception(Refused(str(error.name), str(error.message)) if error else Refused(str(event.type), ""))

    heard = create_proxy(ended)
    for name in (good, *bad):
        target.addEventListener(name, heard)
    try:
        await done
    finally:
        for name in (good, *bad):
            target.removeEventListener(name, heard)
        heard.destroy()
    return getattr(target, "result", None)
