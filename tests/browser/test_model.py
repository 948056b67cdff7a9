"""The real model in the page: loading, streaming, the four ways to stop, errors on the way, memory."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.browser.conftest import MODEL
from tests.browser.harness import boot

HEAP = "() => llm.pyodide._module.HEAPU8.length"
MESSAGES = [{"role": "user", "content": "Name a colour."}]
STREAM = """
async ({ messages, options, stop }) => {
    const got = [];
    const aborter = new AbortController();
    const signal = stop === "signal" ? { signal: aborter.signal } : {};
    let error = null;
    try {
        for await (const chunk of await llm.chat(messages, { ...options, ...signal, stream: true })) {
            got.push(chunk);
            if (got.length < 2) continue;
            if (stop === "break") break;
            if (stop === "signal") aborter.abort();
            if (stop === "interrupt") llm.interrupt();
        }
    } catch (caught) { error = caught.name; }
    return { got, error, ready: llm.isReady(), generating: llm.getStatus().isGenerating };
}
"""


@pytest.fixture(scope="module")
def page(browser, server):
    page = browser.new_page()
    boot(page, server.url)
    yield page
    page.close()


@pytest.fixture(scope="module")
def heap_before(page):
    return page.evaluate(HEAP)


@pytest.fixture(scope="module")
def model(page, heap_before):
    """A page with the model loaded; the progress events it told on the way."""
    return page.evaluate(
        """async (url) => {
            const told = [];
            for (const name of ["loading", "progress", "ready", "error"]) {
                addEventListener(`local-llm:${name}`, ({ detail }) => told.push({ name, ...detail }));
            }
            await llm.init(url, { contextSize: 512 });
            return told;
        }""",
        f"models/{MODEL}",
    )


def stream(page, options=None, stop="end"):
    """What came of a streaming chat that is stopped after the second chunk in the way `stop` says."""
    options = {"temperature": 0, "maxTokens": 12, **(options or {})}
    return page.evaluate(STREAM, {"messages": MESSAGES, "options": options, "stop": stop})


def test_loading_tells_its_progress(page, model):
    names = [event["name"] for event in model]
    shares = [event["progress"] for event in model if event["name"] == "progress"]
    assert names[0] == "loading"
    assert names[-1] == "ready"
    assert "error" not in names
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert sum(0 < share < 1 for share in shares) >= 3


def test_the_heap_does_not_see_the_weights(page, heap_before, model):
    assert page.evaluate(HEAP) - heap_before < 32 << 20


def test_gpu_bytes(page, model):
    info = page.evaluate("() => llm.getRuntimeInfo()")
    cache = info["gpuBytesByUse"]["kv cache"]
    assert 0 < cache < info["gpuBytes"]
    assert info["gpuBytes"] - cache <= 1.15 * info["fileBytes"]


def test_streaming_tells_the_same_text(page, model):
    whole = page.evaluate("(messages) => llm.chat(messages, { temperature: 0, maxTokens: 12 })", MESSAGES)
    found = stream(page)
    chunks = found["got"]
    assert found["error"] is None
    assert "".join(chunk["delta"] for chunk in chunks) == whole["text"]
    assert [chunk["tokenCount"] for chunk in chunks] == sorted(chunk["tokenCount"] for chunk in chunks)
    assert [chunk["done"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len(chunks) > 3
    assert all(later["text"].startswith(early["text"]) for early, later in pairwise(chunks))
    last = chunks[-1]
    assert last["text"] == whole["text"] != ""
    assert last["finishReason"] == whole["finishReason"]
    assert last["usage"]["completionTokens"] == whole["usage"]["completionTokens"] == len(last["tokenIds"])


@pytest.mark.parametrize("stop", ["break", "signal", "interrupt"])
def test_stopping_leaves_it_ready(page, model, stop):
    found = stream(page, {"maxTokens": 400, "ignoreEos": True}, stop)
    assert found["error"] == ("AbortError" if stop == "signal" else None)
    assert found["ready"] is True
    assert found["generating"] is False
    assert len(found["got"]) < 40
    if stop == "interrupt":
        assert found["got"][-1]["finishReason"] == "interrupted"
    assert page.evaluate("() => llm.complete('One, two,', { maxTokens: 1, temperature: 0 })")["text"]


def test_a_signal_stops_a_whole_answer(page, model):
    code = """async (messages) => {
        const aborter = new AbortController();
        const ended = new Promise((resolve) => addEventListener("local-llm:generation-end", resolve, { once: true }));
        addEventListener("local-llm:token", () => aborter.abort(), { once: true });
        const options = { maxTokens: 400, temperature: 0, ignoreEos: true, signal: aborter.signal };
        const name = await llm.chat(messages, options).catch((error) => error.name);
        return [name, (await ended).detail, llm.getStatus().isGenerating];
    }"""
    name, ended, generating = page.evaluate(code, MESSAGES)
    assert name == "AbortError"
    assert ended["finishReason"] == "interrupted"
    assert ended["completionTokens"] < 40
    assert generating is False


def test_returning_before_the_first_chunk(page, model):
    code = """async () => {
        const stream = await llm.complete("One, two,", { stream: true });
        await stream.return();
        return [await stream.next(), (await llm.complete("One, two,", { maxTokens: 1 })).usage.completionTokens];
    }"""
    assert page.evaluate(code) == [{"done": True, "value": None}, 1]


def test_a_signal_that_was_aborted_before(page, model):
    code = "() => llm.chat([], { signal: AbortSignal.abort() }).catch((error) => error.name)"
    assert page.evaluate(code) == "AbortError"


def test_no_proxies_are_left_behind(page, model):
    """PyProxies of chunks, streams and callbacks are destroyed at once, not when JavaScript's collector comes by."""
    code = """async () => {
        const { _module } = llm.pyodide;
        _module.enable_pyproxy_allocation_tracing();
        const before = _module.pyproxy_alloc_map.size;
        for await (const chunk of await llm.complete("One, two,", { stream: true, maxTokens: 3 })) void chunk;
        await llm.complete("One, two,", { maxTokens: 2, signal: new AbortController().signal });
        await llm.chat([], {}).catch(() => {});
        llm.getStatus();
        for (let n = 0; n < 100 && _module.pyproxy_alloc_map.size > before; n++) // callbacks that are under way
            await new Promise((go) => setTimeout(go, 20));
        const after = _module.pyproxy_alloc_map.size;
        _module.disable_pyproxy_allocation_tracing();
        return after - before;
    }"""
    assert page.evaluate(code) == 0


def test_logits_cross_as_an_array(page, model):
    code = """async () => {
        const { shape, data } = await llm.logits([1, 2, 3]);
        return [shape, data instanceof Float32Array, data.length, Array.from(data.slice(0, 8)).every(Number.isFinite)];
    }"""
    assert page.evaluate(code) == [[3, 49152], True, 3 * 49152, True]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"temperature": -1}, "temperature"), ({"maxTokens": 0}, "max_tokens"), ({"topP": "much"}, "top_p")],
)
def test_options_out_of_range(page, model, options, said):
    error = page.evaluate(
        "(options) => llm.complete('x', options).catch(({ name, message }) => ({ name, message }))", options
    )
    assert error["name"] == "InvalidRequest"
    assert said in error["message"]


def test_unload_frees_all(page, model):
    page.evaluate("() => llm.unload()")
    assert page.evaluate("() => llm.getRuntimeInfo()")["gpuBytes"] == 0
    assert page.evaluate("() => llm.isReady()") is False


@pytest.mark.parametrize(("url", "found"), [("models/none.gguf", "404"), ("page.gguf", "HTML page")])
def test_a_failed_load_and_the_next(page, server, url, found):
    caught = page.evaluate(
        "(url) => llm.init(url).catch(({ name, message, remedy }) => ({ name, message, remedy }))", url
    )
    assert caught["name"] == "DownloadFailed"
    assert found in caught["message"]
    assert caught["remedy"]
    assert found in page.evaluate("() => llm.getError()")
    assert page.evaluate("() => llm.getRuntimeInfo()")["gpuBytes"] == 0


def test_the_next_load_works(page, server):
    code = """async (url) => {
        const answer = await fetch(url);
        const file = new File([await answer.blob()], "mine.gguf");
        await llm.init(file, { contextSize: 256 });
        const { text } = await llm.complete("One, two,", { maxTokens: 2, temperature: 0 });
        return [llm.getError(), llm.getCurrentModel(), text];
    }"""
    error, name, text = page.evaluate(code, f"models/{MODEL}")
    assert error is None
    assert name == "mine"
    assert text.strip()


def test_a_page_adds_models_with_names_as_either_language_writes_them(page):
    added = """async () => {
        const size = { downloadBytes: 5, context_size: 512 };
        const entry = { url: "mine.gguf", ...size, tensorTypes: ["Q4_K"], quantization: "Q4_K_M" };
        const [id] = await llm.addModels([entry]);
        return llm.getAvailableModels().find((model) => model.id === id);
    }"""
    found = page.evaluate(added)
    told = {name: found[name] for name in ("id", "downloadBytes", "contextSize", "tensorTypes", "quantization")}
    assert told == {
        "id": "mine",
        "downloadBytes": 5,
        "contextSize": 512,
        "tensorTypes": ["Q4_K"],
        "quantization": "Q4_K_M",
    }
