"""A built site on loopback and Chromium with WebGPU on the CPU. LOCAL_LLM_SITE names another site than dist/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.harness import ADAPTER, ROOT, TestServer, boot, launch

SITE = Path(os.environ.get("LOCAL_LLM_SITE", ROOT / "dist"))
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def server():
    """The site, the model, and paths that misbehave (harness.TestServer)."""
    if not (SITE / "manifest.json").is_file():
        pytest.fail(f"No built site at {SITE}. Run: python3 build.py build")
    model = SITE / "models" / MODEL
    if not model.is_file():
        model = ROOT / ".cache" / "assets" / "models" / MODEL
    with TestServer(SITE, model) as server:
        yield server


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright):
    """Chromium with SwiftShader's WebGPU adapter."""
    browser = launch(playwright, ADAPTER)
    yield browser
    browser.close()


@pytest.fixture
def blank(browser) -> Iterator[Page]:
    """A fresh page that has loaded nothing."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def page(browser, server) -> Iterator[Page]:
    """A page of the site with Python up, shared by one module's tests; no model is loaded."""
    page = browser.new_page()
    boot(page, server.url)
    yield page
    page.close()
