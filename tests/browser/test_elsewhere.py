"""The wheel alone in somebody else's Pyodide: no boot.js, no site; bridge and tokenizer come out of the package."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MODEL

START = """
async () => {
    const { loadPyodide } = await import("/pyodide/pyodide.mjs");
    globalThis.pyodide = await loadPyodide({ indexURL: "/pyodide/" });
    const started = pyodide._module.HEAPU8.length;
    const manifest = await (await fetch("/manifest.json")).json();
    await pyodide.loadPackage(["numpy", "micropip"]);
    const micropip = pyodide.pyimport("micropip");
    const wheels = manifest.wheels.map((wheel) => new URL(wheel, location).href);
    await micropip.install.callKwargs(pyodide.toPy(wheels), { deps: false });
    return started;
}
"""


@pytest.fixture(scope="module")
def elsewhere(browser, server):
    """A page that shares nothing with the site but the files, and its heap right after Pyodide's start."""
    server.files["/elsewhere.html"] = ("text/html", b"<!doctype html><title>Notebook</title>")
    page = browser.new_page()
    page.goto(f"{server.url}elsewhere.html")
    started = page.evaluate(START)
    yield page, started
    page.close()


def test_load_and_answer_from_python(elsewhere, server):
    page, started = elsewhere
    code = f"""
from local_llm import LocalLLM
llm = LocalLLM()
await llm.init("{server.url}models/{MODEL}", context_size=256)
pieces = []
async for chunk in await llm.complete("One, two,", stream=True, max_tokens=3, temperature=0):
    pieces.append(chunk.delta)
held = llm.status()["gpu_bytes"]
await llm.close()
["".join(pieces), chunk.text, held, llm.status()["gpu_bytes"]]
"""
    pieces, text, held, left = page.evaluate("async (code) => (await pyodide.runPythonAsync(code)).toJs()", code)
    assert pieces == text != ""
    assert held > 98 << 20
    assert left == 0
    grown = page.evaluate("() => pyodide._module.HEAPU8.length") - started
    assert grown < held // 2, "the weights do not pass through the Wasm heap"
