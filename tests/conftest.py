"""One suite, two hosts: in CPython it runs over Dawn, in the page (Pyodide) over navigator.gpu."""

from __future__ import annotations

import asyncio
import inspect
import sys
from importlib.util import find_spec

import pytest

IN_PAGE = sys.platform == "emscripten"

if IN_PAGE:
    from pyodide.ffi import run_sync as wait  # pyright: ignore[reportMissingImports]
else:
    from hypothesis import settings

    _loop = asyncio.new_event_loop()

    def wait(task):
        """Run to the end, also while Playwright's loop, which its synchronous face leaves open, is suspended."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return _loop.run_until_complete(task)
        finally:
            asyncio._set_running_loop(outer)


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="faults and repetitions in their long form")


def pytest_configure(config):
    """Hypothesis draws the same examples each time, others for a soak. Each has a minute: other tests run beside it."""
    if not IN_PAGE:
        again = not config.getoption("--soak")
        settings.register_profile("shared processor", deadline=60_000, derandomize=again, print_blob=True)
        settings.load_profile("shared processor")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Tests are coroutines; no plugin is needed to run them on either host."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    wait(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session", autouse=not IN_PAGE and find_spec("local_llm") is not None)  # check installs none
def folders_of_nobody(tmp_path_factory):
    """What CPython's host keeps lies elsewhere than a user's own settings and files."""
    folder = tmp_path_factory.mktemp("nobody")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("local_llm.native.store.config_folder", lambda: folder / "config")
        patched.setattr("local_llm.native.host.cache_folder", lambda: folder / "cache")
        yield


@pytest.fixture(scope="session")
def device():
    if IN_PAGE:
        from local_llm.browser.device import open_device
    else:
        from local_llm.native.device import open_device
    device = wait(open_device())
    yield device
    device.close()


@pytest.fixture(scope="session")
def server():
    """The built site on loopback, the model, and paths that misbehave. LOCAL_LLM_SITE names another site than dist/."""
    from tests.browser.harness import MODEL, ROOT, SITE, TestServer

    if not (SITE / "manifest.json").is_file():
        pytest.fail(f"No built site at {SITE}. Run: python3 build.py build")
    model = SITE / "models" / MODEL
    if not model.is_file():
        model = ROOT / ".cache" / "assets" / "models" / MODEL
    with TestServer(SITE, model) as server:
        yield server


@pytest.fixture(scope="session")
def playwright():
    """One for all: a second one in the same process is refused."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright):
    """Chromium with SwiftShader's WebGPU adapter."""
    from tests.browser.harness import ADAPTER, launch

    browser = launch(playwright, ADAPTER)
    yield browser
    browser.close()
