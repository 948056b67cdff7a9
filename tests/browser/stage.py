"""What the widget's tests and the stories stand on: a page that counts what it holds, and small models to load."""

from __future__ import annotations

import json
from pathlib import Path

from tests.browser.harness import TestServer
from tests.model.tiny import write_tiny_gguf

# Runs before any script of the page: counts timers and GPU bytes, records events in `told`.
WATCH = """
globalThis.timers = new Map();
const { setInterval: start, clearInterval: stop } = globalThis;
globalThis.setInterval = (callback, ms, ...rest) => {
  const timer = start(callback, ms, ...rest);
  timers.set(timer, ms);
  return timer;
};
globalThis.clearInterval = (timer) => { timers.delete(timer); stop(timer); };

globalThis.gpu = { bytes: 0, log: [] };
if (globalThis.GPUDevice) {
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  GPUDevice.prototype.createBuffer = function (what) {
    const buffer = createBuffer.call(this, what);
    if (what.label === "staging") return buffer;
    gpu.bytes += what.size;
    gpu.log.push(["create", what.label, gpu.bytes]);
    buffer.counted = what.size;
    return buffer;
  };
  GPUBuffer.prototype.destroy = function () {
    gpu.bytes -= this.counted ?? 0;
    this.counted = 0;
    gpu.log.push(["destroy", this.label, gpu.bytes]);
    return destroy.call(this);
  };
}

globalThis.told = [];
const names = ["loading", "progress", "ready", "error", "unloaded", "generation-start", "token", "generation-end",
  "memory-warning"];
for (const name of names) addEventListener(`local-llm:${name}`, ({ detail }) => told.push({ name, detail }));
"""
HEAD = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
BODY = '<script type="module" src="local-llm.js"></script>'
TINY = {"tiny": ("Tiny", "F32"), "small": ("<b>Small</b>", "Q8_0")}


def serve_models(server: TestServer, folder: Path) -> None:
    """Two tiny models under /tiny/, and /tiny/catalog.json that lists them and one that cannot be loaded."""
    models = []
    for seed, (name, (title, kind)) in enumerate(TINY.items()):
        made = write_tiny_gguf(folder / f"{name}.gguf", seed, types=kind)
        server.files[f"/tiny/{name}.gguf"] = ("application/octet-stream", made.path.read_bytes())
        models.append({"url": f"{name}.gguf", "name": title, "family": "Tiny", "quantization": kind})
    models.append({"url": "odd.gguf", "name": "Odd", "family": "Strange", "architecture": "mamba"})
    server.files["/tiny/catalog.json"] = ("application/json", json.dumps({"models": models}).encode())


def serve_page(server: TestServer, path: str, content: str, head: str = "") -> str:
    """An HTML page with our script in it; its address."""
    server.files[path] = ("text/html", f"{HEAD}{head}{content}{BODY}".encode())
    return server.url + path.removeprefix("/")
