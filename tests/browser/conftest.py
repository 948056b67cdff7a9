"""Pages of the built site; server and browser are the ones of tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.harness import MODEL, boot

__all__ = ["MODEL"]


@pytest.fixture
def blank(browser) -> Iterator[Page]:
    """A fresh page that has loaded nothing."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="session")
def page(browser, server) -> Iterator[Page]:
    """A page of the site with Python up, shared by all tests that load no model: a start costs seconds."""
    page = browser.new_page()
    boot(page, server.url)
    yield page
    page.close()
