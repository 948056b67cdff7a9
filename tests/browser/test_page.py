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
        "() => /^\\d+ tokens · [\\d.]+ tokens a second$/.test("
        "document.querySelector(\"article[data-role='assistant'] small\").textContent)",
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
    assert "none.gguf" in part(blank, "toasts").text_content()
    assert "404" in part(blank, "toasts").text_content()
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


# Each takes away something else; the descriptor of navigator.gpu lies in globalThis.gpu meanwhile.
NO_GPU = "globalThis.gpu = Object.getOwnPropertyDescriptor(Navigator.prototype, 'gpu'); delete Navigator.prototype.gpu;"
NO_ADAPTER = """
    Object.defineProperty(Navigator.prototype, "gpu", globalThis.gpu);
    globalThis.requestAdapter = GPU.prototype.requestAdapter;
    GPU.prototype.requestAdapter = async () => null;
"""
NO_DEVICE = """
    GPU.prototype.requestAdapter = globalThis.requestAdapter;
    GPUAdapter.prototype.requestDevice = async () => { throw new TypeError("not today"); };
"""
ASK = """async () => {
    const told = [];
    addEventListener("local-llm:error", ({ detail }) => told.push(detail));
    const found = await llm.checkWebGPU();
    const error = await llm.init("models/any.gguf").catch(({ name, message, remedy }) => ({ name, message, remedy }));
    return { found, told, error, status: llm.getStatus() };
}"""


def test_what_is_missing_is_told_with_a_remedy(blank, server):
    """One page in three states: a start costs seconds."""
    blank.add_init_script(NO_GPU)
    boot(blank, server.url)
    result = blank.evaluate(ASK)
    assert result["found"]["available"] is False
    assert "navigator.gpu" in result["found"]["error"]
    assert result["error"]["name"] == "WebGPUUnavailable"
    assert "chrome://flags" in result["error"]["remedy"]
    assert result["told"][0]["name"] == "WebGPUUnavailable"
    assert result["status"]["isReady"] is False
    assert "chrome://flags" in part(blank, "toasts").text_content()

    blank.evaluate(f"() => {{ {NO_ADAPTER} }}")
    result = blank.evaluate(ASK)
    assert result["found"]["available"] is False
    assert "no GPU adapter" in result["error"]["message"]
    assert "chrome://gpu" in result["error"]["remedy"]
    assert "chrome://gpu" in part(blank, "toasts").text_content()

    blank.evaluate(f"() => {{ {NO_DEVICE} }}")
    result = blank.evaluate(ASK)
    assert result["found"]["available"] is False
    assert result["error"]["name"] == "WebGPUUnavailable"
    assert "refused a device" in result["error"]["message"]
    assert "not today" in result["error"]["message"]
