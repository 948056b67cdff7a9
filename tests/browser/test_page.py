"""The demo page as a person uses it, and what it says where there is no WebGPU."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MODEL
from tests.browser.harness import boot


def part(page, name):
    return page.locator(f"[data-part='{name}']")


def test_type_send_watch_stop(blank, server):
    boot(blank, f"{server.url}?model=models/{MODEL}")
    part(blank, "prompt").fill("Tell me a long story about <b>two</b> foxes.")
    part(blank, "prompt").press("Enter")
    note = blank.locator("article[data-role='assistant'] small")
    blank.wait_for_function(
        "() => /^[3-9] tokens/.test(document.querySelector(\"article[data-role='assistant'] small\").textContent)",
        timeout=120_000,
    )
    part(blank, "stop").click()
    blank.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'", timeout=30_000)
    assert "stopped" in note.text_content()
    assert "tokens a second" in note.text_content()
    assert "<b>two</b>" in blank.locator("article[data-role='user'] p").text_content()
    assert blank.locator("article p").nth(1).text_content().strip()
    assert "software adapter" in part(blank, "adapter").text_content()
    part(blank, "new").click()
    assert blank.locator("article").count() == 0


def test_a_wrong_address_is_told(blank, server):
    boot(blank, f"{server.url}?model=models/none.gguf")
    part(blank, "load").click()
    blank.wait_for_function("() => document.querySelector('main').dataset.phase === 'error'")
    assert "none.gguf" in part(blank, "status").text_content()
    assert "404" in part(blank, "status").text_content()
    assert part(blank, "send").is_enabled()


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_sticks_out(blank, server, width):
    blank.set_viewport_size({"width": width, "height": 740})
    blank.route("**/local-llm.js", lambda route: route.abort())  # the skeleton alone
    blank.goto(server.url)
    assert blank.evaluate("() => document.documentElement.scrollWidth") <= width
    for name in ("prompt", "send", "status", "file", "new"):
        box = part(blank, name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert "build.py serve" in part(blank, "status").text_content()


NO_GPU = """async () => {
    const told = [];
    addEventListener("local-llm:error", ({ detail }) => told.push(detail));
    const found = await llm.checkWebGPU();
    const error = await llm.init("models/any.gguf").catch(({ name, message, remedy }) => ({ name, message, remedy }));
    return { found, told, error, status: llm.getStatus() };
}"""


def test_a_browser_without_webgpu(blank, server):
    blank.add_init_script("delete Navigator.prototype.gpu;")
    boot(blank, server.url)
    result = blank.evaluate(NO_GPU)
    assert result["found"]["available"] is False
    assert "navigator.gpu" in result["found"]["error"]
    assert result["error"]["name"] == "WebGPUUnavailable"
    assert "chrome://flags" in result["error"]["remedy"]
    assert result["told"][0]["name"] == "WebGPUUnavailable"
    assert result["status"]["isReady"] is False
    assert "chrome://flags" in part(blank, "status").text_content()


def test_a_browser_without_an_adapter(blank, server):
    blank.add_init_script("GPU.prototype.requestAdapter = async () => null;")
    boot(blank, server.url)
    result = blank.evaluate(NO_GPU)
    assert "no GPU adapter" in result["error"]["message"]
    assert "chrome://gpu" in result["error"]["remedy"]


def test_an_adapter_that_refuses_a_device(blank, server):
    blank.add_init_script("GPUAdapter.prototype.requestDevice = async () => { throw new TypeError('not today'); };")
    boot(blank, server.url)
    result = blank.evaluate(NO_GPU)
    assert "refused a device" in result["error"]["message"]
    assert "not today" in result["error"]["message"]
