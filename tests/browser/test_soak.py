"""Long use of one page, pressed together: what the GPU, JavaScript and Python hold stays where it was.

The first third warms up; the last one is held against the middle. --soak: 300 generations, 30 switches, 50 aborts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pytest

from tests.browser.harness import boot, python
from tests.browser.stage import WATCH, serve_models

FLAT = 0.02
# One round with the model at hand: answers as a whole and as streams, and answers broken off in several ways.
ROUND = """async ({ model, answers, aborts, first }) => {
    const hi = [{ role: 'user', content: 'Hi' }];
    const options = { maxTokens: 12, temperature: 0, ignoreEos: true };
    await llm.switchModel(model);
    let [whole, broken] = [0, 0];
    for (let n = 0; n < answers; n++) {
        if (n % 3) whole += (await llm.chat(hi, options)).usage.completionTokens === 12;
        else {
            let last = null;
            for await (const chunk of await llm.complete('a b', { ...options, stream: true, temperature: 1 }))
                last = chunk;
            whole += last.done && last.finishReason === 'length';
        }
    }
    for (let n = first; n < first + aborts; n++) {
        const long = { ...options, maxTokens: 200, stream: n % 4 < 3 };
        const controller = new AbortController();
        if (n % 4 === 0) {
            let seen = 0;
            for await (const chunk of await llm.chat(hi, long)) if (++seen === 2) break;
            broken += seen === 2;
        } else if (n % 4 === 1) {
            addEventListener('local-llm:token', () => llm.interrupt(), { once: true });
            let last = null;
            for await (const chunk of await llm.chat(hi, long)) last = chunk;
            broken += last.finishReason === 'interrupted';
        } else {
            const signal = controller.signal;
            addEventListener('local-llm:token', () => controller.abort(), { once: true });
            const ended = async () => {
                const answer = await llm.chat(hi, { ...long, signal });
                if (long.stream) for await (const chunk of answer) continue;
            };
            broken += await ended().then(() => 0, ({ name }) => name === 'AbortError');
        }
    }
    globalThis.told.length = globalThis.gpu.log.length = 0; // this test's own
    return [whole, broken];
}"""
# WATCH leaves out the buffers that reads go through: they are kept for later reads.
STAGING = """
globalThis.staging = 0;
if (globalThis.GPUDevice) {
    const { createBuffer } = GPUDevice.prototype;
    const { destroy } = GPUBuffer.prototype;
    GPUDevice.prototype.createBuffer = function (what) {
        const buffer = createBuffer.call(this, what);
        if (what.label === 'staging') globalThis.staging += buffer.staged = what.size;
        return buffer;
    };
    GPUBuffer.prototype.destroy = function () {
        globalThis.staging -= this.staged ?? 0;
        this.staged = 0;
        return destroy.call(this);
    };
}
"""
PYTHON = "import gc\ngc.collect()\nlen(gc.get_objects())"


@dataclass(frozen=True)
class Held:
    """gpu, staging, script, wasm: bytes of GPU buffers, of JavaScript's heap, of Wasm memory; python: objects.

    ledger: GPU bytes that the service knows of.
    """

    gpu: int
    staging: int
    ledger: int
    script: int
    python: int
    wasm: int


def held(page, devtools) -> Held:
    """What is held after a full collection on both sides."""
    objects = python(page, PYTHON)
    gpu, staging = page.evaluate("() => [gpu.bytes, staging]")
    devtools.send("HeapProfiler.collectGarbage")
    return Held(
        gpu,
        staging,
        page.evaluate("() => llm.getStatus().gpuBytes"),
        devtools.send("Runtime.getHeapUsage")["usedSize"],
        objects,
        page.evaluate("async () => (await ModuleLoader.getModule('LocalLLM')).pyodide._module.HEAPU8.length"),
    )


def mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


@pytest.fixture
def soaked(browser, server, tmp_path):
    """A page of its own that counts GPU bytes, its devtools, and what its console says of errors."""
    serve_models(server, tmp_path)
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(WATCH + STAGING)
    boot(page, server.url)
    yield page, context.new_cdp_session(page), errors
    context.close()


def test_nothing_grows(soaked, request):
    page, devtools, errors = soaked
    rounds, answers, aborts = (30, 10, 50) if request.config.getoption("--soak") else (6, 5, 6)
    seen, done = [], 0
    for number in range(rounds):
        share = aborts * (number + 1) // rounds - done
        model = f"tiny/{('tiny', 'small')[number % 2]}.gguf"
        words = {"model": model, "answers": answers, "aborts": share, "first": done}
        assert page.evaluate(ROUND, words) == [answers, share]
        done += share
        if number % 2:
            seen.append(held(page, devtools))
    third = len(seen) // 3
    middle, last = ([asdict(one) for one in part] for part in (seen[third : 2 * third], seen[2 * third :]))
    grown = {}
    for name in middle[0]:
        before, after = (mean([one[name] for one in part]) for part in (middle, last))
        grown[name] = after / before - 1
    print(f"{rounds} switches, {rounds * answers} answers, {done} aborts: {seen[0]} … {seen[-1]}, {grown}")
    assert all(one.gpu == one.ledger for one in seen)
    assert {name: value for name, value in grown.items() if abs(value) > FLAT} == {}
    page.evaluate("() => llm.unload()")
    assert page.evaluate("() => gpu.bytes") == 0
    assert errors == []
