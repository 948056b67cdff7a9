"""The GPU device is destroyed in the middle of generations: every stream completes, with the undisturbed text."""

from __future__ import annotations

import pytest

from tests.browser.stage import serve_models

STORY = """async ([times, clears]) => {
    const make = GPUDevice.prototype.createCommandEncoder;
    let device = null;
    GPUDevice.prototype.createCommandEncoder = function (...words) { device = this; return make.apply(this, words); };
    try {
        await llm.init('tiny/tiny.gguf');
        const hi = [{ role: 'user', content: 'Hi' }];
        const options = { maxTokens: 150, temperature: 0, ignoreEos: true };
        const calm = (await llm.chat(hi, options)).text;
        const told = [];
        const hear = ({ type, detail }) => told.push([type.slice('local-llm:'.length), Boolean(detail.recovering)]);
        const names = ['loading', 'ready', 'error', 'generation-end'];
        for (const name of names) addEventListener(`local-llm:${name}`, hear);
        const same = [];
        for (let n = 0; n < times; n++) {
            const lost = device;
            let left = 1 + n % 4; // events with tokens until the device goes
            const strike = () => { if (--left === 0) device.destroy(); };
            const files = await navigator.storage.getDirectory();
            while (clears) try {
                await files.removeEntry('local-llm-models', { recursive: true });
                break;
            } catch (error) { // while one of the files is being written
                if (!/^(NoModificationAllowed|InvalidModification)Error$/.test(error.name)) throw error;
                await new Promise((go) => setTimeout(go, 50));
            }
            addEventListener('local-llm:token', strike);
            let last = null;
            for await (const chunk of await llm.chat(hi, { ...options, stream: true })) last = chunk;
            removeEventListener('local-llm:token', strike);
            same.push(last.text === calm && last.finishReason === 'length' && device !== lost);
        }
        for (const name of names) removeEventListener(`local-llm:${name}`, hear);
        const { gpuBytes, isReady } = llm.getStatus();
        await llm.unload();
        return { same, told: told.slice(0, 3), errors: told.filter(([name]) => name === 'error').length, isReady,
                 held: gpuBytes > 0, left: llm.getStatus().gpuBytes };
    } finally {
        GPUDevice.prototype.createCommandEncoder = make;
    }
}"""


@pytest.fixture
def tiny(page, server, tmp_path):
    serve_models(server, tmp_path)
    yield
    page.evaluate("() => llm.unload()")


@pytest.mark.parametrize("clears", [False, True], ids=["kept", "the site's data cleared"])
def test_streams_survive_a_destroyed_device(page, tiny, request, clears):
    times = 20 if request.config.getoption("--soak") else 3
    assert page.evaluate(STORY, [times, clears]) == {
        "same": [True] * times,
        "told": [["loading", True], ["ready", True], ["generation-end", False]],
        "errors": 0,
        "isReady": True,
        "held": True,
        "left": 0,
    }
