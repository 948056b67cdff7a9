"""The page's store over a localStorage that takes texts, refuses them, is full or is not there, with no browser."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class JsException(Exception):
    pass


class LocalStorage:
    """refused: whether it throws. full: whether it takes nothing more."""

    def __init__(self, refused=False, full=False):
        self.texts = {}
        self.refused, self.full = refused, full

    def getItem(self, key):  # noqa: N802
        if self.refused:
            raise JsException("SecurityError")
        return self.texts.get(key)

    def setItem(self, key, text):  # noqa: N802
        if self.refused or self.full:
            raise JsException("QuotaExceededError")
        self.texts[key] = text

    def removeItem(self, key):  # noqa: N802
        del self.texts[key]


@pytest.fixture
def opened(monkeypatch):
    """A BrowserStore over such a localStorage; None: there is none."""

    def open_store(storage: LocalStorage | None) -> Any:
        js: Any = ModuleType("js")
        if storage:
            js.localStorage = storage
        monkeypatch.setitem(sys.modules, "js", js)
        monkeypatch.setitem(sys.modules, "pyodide", ModuleType("pyodide"))
        monkeypatch.setitem(sys.modules, "pyodide.ffi", SimpleNamespace(JsException=JsException))
        monkeypatch.delitem(sys.modules, "local_llm.browser.store", raising=False)
        try:
            return importlib.import_module("local_llm.browser.store").BrowserStore()
        finally:
            monkeypatch.delitem(sys.modules, "local_llm.browser.store")

    return open_store


async def test_it_lasts_where_the_browser_takes_texts(opened):
    storage = LocalStorage()
    store = opened(storage)
    assert store.lasts
    assert storage.texts == {}, "of the probe"
    await store.set("colour", "blue")
    assert store.lasts
    assert await opened(storage).get("colour") == "blue"


@pytest.mark.parametrize("storage", [None, LocalStorage(refused=True)], ids=["none", "refused"])
async def test_where_there_is_none_it_is_as_long_as_the_page(opened, storage):
    store = opened(storage)
    assert not store.lasts
    await store.set("colour", "blue")
    assert await store.get("colour") == "blue"
    assert await opened(storage).get("colour") is None


async def test_one_that_is_full_by_now_is_still_read(opened):
    storage = LocalStorage()
    store = opened(storage)
    await store.set("colour", "blue")
    storage.full = True
    await store.set("size", "10" * 1000)
    assert not store.lasts
    assert not opened(storage).lasts
    assert await opened(storage).get("colour") == "blue"
