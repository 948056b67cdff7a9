"""The demo page as a person uses it, and what it says where there is no WebGPU."""

from __future__ import annotations

import pytest

from tests.browser.harness import boot
from tests.browser.looks import GATE, PACE
from tests.browser.scripted import write_scripted_gguf
from tests.browser.stage import serve_models


def part(page, name):
    return page.locator(f"[data-part='{name}']")


def test_a_wrong_address_is_told_then_type_send_watch_stop(blank, server, tmp_path):
    """One page: a start costs seconds."""
    write_scripted_gguf(tmp_path / "told.gguf", " ".join(f"fox{n}" for n in range(300)))
    blank.add_init_script(GATE)
    boot(blank, f"{server.url}?model=told.gguf")
    part(blank, "load").click()
    blank.wait_for_function("() => document.querySelector('main').dataset.phase === 'error'")
    assert "told.gguf" in part(blank, "toasts").text_content()
    assert "404" in part(blank, "toasts").text_content()
    assert part(blank, "send").is_enabled()
    server.files["/told.gguf"] = ("application/octet-stream", (tmp_path / "told.gguf").read_bytes())
    blank.evaluate("(ms) => { pace = ms; }", PACE)
    part(blank, "prompt").fill("Tell me a long story about <b>two</b> foxes.")
    part(blank, "prompt").press("Enter")
    note = blank.locator("article[data-role='assistant'] small")
    blank.wait_for_function(
        "() => /^\\d+ tokens · [\\d.]+ tokens a second$/.test("
        "document.querySelector(\"article[data-role='assistant'] small\")?.textContent)",
        timeout=120_000,
    )
    part(blank, "stop").click()
    blank.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'", timeout=30_000)
    assert "stopped" in note.text_content()
    assert "tokens a second" in note.text_content()
    assert "<b>two</b>" in blank.locator("article[data-role='user'] p").text_content()
    said = (blank.locator("article p").nth(1).text_content() or "").split()
    assert said == [f"fox{n}" for n in range(len(said))]
    assert 0 < len(said) < 300
    assert "software adapter" in part(blank, "adapter").text_content()
    part(blank, "new").click()
    assert blank.locator("article").count() == 0


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
INSECURE = "Object.defineProperty(globalThis, 'isSecureContext', { value: false, configurable: true });"
NO_GPU = "globalThis.gpu = Object.getOwnPropertyDescriptor(Navigator.prototype, 'gpu'); delete Navigator.prototype.gpu;"
NO_ADAPTER = """
    Object.defineProperty(Navigator.prototype, "gpu", globalThis.gpu);
    globalThis.requestAdapter = GPU.prototype.requestAdapter;
    GPU.prototype.requestAdapter = async () => null;
"""
BLOCKED = """
    globalThis.getContext = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = () => ({
        getExtension: () => ({ UNMASKED_RENDERER_WEBGL: 1 }),
        getParameter: () => "Some GPU 9000",
    });
"""
NO_DEVICE = """
    HTMLCanvasElement.prototype.getContext = globalThis.getContext;
    GPU.prototype.requestAdapter = globalThis.requestAdapter;
    globalThis.requestDevice = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async () => { throw new TypeError("not today"); };
"""
SMALL = """
    delete GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = globalThis.requestDevice;
    globalThis.limit = Object.getOwnPropertyDescriptor(GPUSupportedLimits.prototype, "maxStorageBufferBindingSize");
    Object.defineProperty(GPUSupportedLimits.prototype, "maxStorageBufferBindingSize", {
        get: () => 2048, configurable: true,
    });
"""
ASK = """async () => {
    const told = [];
    addEventListener("local-llm:error", ({ detail }) => told.push(detail));
    const found = await llm.checkWebGPU();
    const error = await llm.init("models/any.gguf").catch(({ name, message, remedy }) => ({ name, message, remedy }));
    return { found, told, error, status: llm.getStatus() };
}"""


def test_what_is_missing_is_told_with_a_remedy(blank, server, tmp_path):
    """One page in six states: a start costs seconds."""
    serve_models(server, tmp_path)
    blank.add_init_script(NO_GPU + INSECURE)
    boot(blank, server.url)
    result = blank.evaluate(ASK)
    assert "navigator.gpu" in result["found"]["error"]
    assert "https://" in result["found"]["remedy"]
    assert "chrome://" not in result["error"]["remedy"]

    blank.evaluate("() => { delete globalThis.isSecureContext; }")
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

    blank.evaluate(f"() => {{ {BLOCKED} }}")
    result = blank.evaluate(ASK)
    assert "'Some GPU 9000'" in result["found"]["error"]
    assert "blocks this GPU" in result["error"]["message"]
    assert "driver" in result["error"]["remedy"]

    blank.evaluate(f"() => {{ {NO_DEVICE} }}")
    result = blank.evaluate(ASK)
    assert result["found"]["available"] is False
    assert result["error"]["name"] == "WebGPUUnavailable"
    assert "refused a device" in result["error"]["message"]
    assert "not today" in result["error"]["message"]

    blank.evaluate(f"() => {{ {SMALL} }}")
    found = blank.evaluate("() => llm.checkWebGPU()")
    assert (found["available"], found["limits"]["maxBindingBytes"]) == (True, 2048)
    error = blank.evaluate(
        "() => llm.init('tiny/tiny.gguf').catch(({ name, message, remedy }) => [name, message, remedy])"
    )
    assert error[0] == "OutOfMemory"
    assert "this adapter's largest buffer is 2048 bytes" in error[1]
    assert "smaller model" in error[2]
    assert blank.evaluate("() => llm.getStatus().gpuBytes") == 0
