"""The seam between Python and the bridge, from inside Pyodide, with pytest-pyodide's runner and decorator."""

from __future__ import annotations

import pytest
from pytest_pyodide import run_in_pyodide
from pytest_pyodide.runner import PlaywrightChromeRunner


class SiteRunner(PlaywrightChromeRunner):
    """Pyodide as the site starts it: boot.js, wheels, bridge. The browser is ours, so nothing is downloaded."""

    script_timeout = 120

    def prepare_driver(self) -> None:
        self.goto(self.base_url)

    def load_pyodide(self) -> None:
        script = "const { pyodide } = await ModuleLoader.getModule('LocalLLM');"
        self.run_js(script + self.POST_LOAD_PYODIDE_SCRIPT)


@pytest.fixture(scope="module")
def selenium(browser, server):
    """pytest-pyodide's name for the page."""
    runner = SiteRunner(browsers={"chrome": browser}, server_port=server.port)
    yield runner
    runner.quit()


@pytest.fixture(scope="module")
def code():
    return MULTIPLY


MULTIPLY = """
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
override FACTOR: u32 = 1;
@compute @workgroup_size(4) fn multiply(@builtin(global_invocation_id) id: vec3u) { y[id.x] = y[id.x] * FACTOR; }
"""


@run_in_pyodide
async def test_a_plan_is_replayed(selenium, code):
    import struct

    from local_llm.browser.device import open_device
    from local_llm.gpu.ports import Dispatch

    device = await open_device()
    buffer = device.create_buffer(32, "y")
    device.write(buffer, struct.pack("<8I", *range(8)))
    pipeline = await device.create_pipeline(code, "multiply", ["read_write"], {"FACTOR": 3})
    plan = device.record([Dispatch(pipeline, device.bind(pipeline, [buffer]), (1, 1, 1))] * 2)
    device.submit(plan, times=2)
    early = device.read(buffer, 16)
    device.submit(plan)
    late = device.read(buffer, 32)
    assert struct.unpack("<4I", await early) == (0, 81, 162, 243)
    assert struct.unpack("<8I", await late) == (0, 729, 1458, 2187, 4, 5, 6, 7)
    assert struct.unpack("<1I", await device.read(buffer, 4, 8)) == (1458,)
    await device.idle()
    device.close()
