"""The wheel alone in somebody else's Pyodide: no boot.js, no site; bridge and tokenizer come out of the package."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MODEL

START = """
async () => {
    const { loadPyodide } = await import("/pyodide/pyodide.mjs");
    globalThis.pyodide = await loadPyodide({ indexURL: "/pyodide/" });
    const manifest = await (await fetch("/manifest.json")).json();
    await pyodide.loadPackage(["numpy", "micropip"]);
    const micropip = pyodide.pyimport("micropip");
    const wheels = manifest.wheels.map((wheel) => new URL(wheel, location).href);
    await micropip.install.callKwargs(pyodide.toPy(wheels), { deps: false });
    return pyodide._module.HEAPU8.length;
}
"""


@pytest.fixture(scope="module")
def elsewhere(browser, server):
    """A page that shares nothing with the site but the files, and its heap when all packages are installed."""
    server.files["/elsewhere.html"] = ("text/html", b"<!doctype html><title>Notebook</title>")
    page = browser.new_page()
    page.goto(f"{server.url}elsewhere.html")
    started = page.evaluate(START)
    yield page, started
    page.close()


def test_load_and_answer_from_python(elsewhere, server):
    page, started = elsewhere
    code = f"""
import gc, tracemalloc
from local_llm import LocalLLM
llm = LocalLLM()
tracemalloc.start()
await llm.init("{server.url}models/{MODEL}", context_size=256)
pieces = []
async for chunk in await llm.complete("One, two,", stream=True, max_tokens=3, temperature=0):
    pieces.append(chunk.delta)
held = llm.status()["gpu_bytes"]
await llm.close()
gc.collect()
["".join(pieces), chunk.text, held, llm.status()["gpu_bytes"], *tracemalloc.get_traced_memory()]
"""
    pieces, text, held, left, stayed, most = page.evaluate(
        "async (code) => (await pyodide.runPythonAsync(code)).toJs()", code
    )
    assert pieces == text != ""
    assert held > 98 << 20
    assert left == 0
    grown = page.evaluate("() => pyodide._module.HEAPU8.length") - started
    print(f"Python's memory: {most} bytes at most, {stayed} stay; the heap of {started} bytes grew by {grown}")
    assert most < 16 << 20, "the tokenizer's definition (8 MB) and the file's head (2 MiB, until it is collected twice)"
    assert stayed < 2 << 20, "caches: texts of kernels, templates"
    assert grown < started // 2, "a Wasm heap grows by a fifth at a time, and never shrinks"
