"""The blueprint's checklist, one story a line, in Chromium with the site as users get it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.harness import MODEL, boot, launch
from tests.browser.stage import WATCH, serve_models, serve_page

WIDGET = '<local-llm-widget id="a"></local-llm-widget>'
BADGES = {
    "disabled": "○ Not Loaded",
    "loading": "☍ Loading",
    "active": "● Generating",
    "idle": "✓ Ready",
    "error": "✕ Error",
}


@pytest.fixture(scope="module")
def page(browser, server, tmp_path_factory):
    """A page with the widget, which counts GPU bytes and writes down every event."""
    serve_models(server, tmp_path_factory.mktemp("tiny"))
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    boot(page, serve_page(server, "/story.html", WIDGET))
    yield page
    page.close()


@pytest.fixture(autouse=True)
def empty(request):
    if "page" in request.fixturenames:
        request.getfixturevalue("page").evaluate("async () => { await llm.unload(); told.length = 0; }")


def details(page, name: str) -> list[dict]:
    return page.evaluate("(name) => told.filter((one) => one.name === name).map(({ detail }) => detail)", name)


def test_initialization_gracefully_fails_when_webgpu_is_unavailable(playwright, server):
    without = launch(playwright)  # headless Chromium on a machine without a GPU, no switch that helps it
    try:
        page = without.new_page()
        page.add_init_script("delete Navigator.prototype.gpu;" + WATCH)
        boot(page, serve_page(server, "/without.html", WIDGET))
        error = page.evaluate("() => llm.init().catch(({ name, message, remedy }) => ({ name, message, remedy }))")
        assert error["name"] == "WebGPUUnavailable"
        assert "navigator.gpu" in error["message"]
        assert "chrome://flags/#enable-unsafe-webgpu" in error["remedy"]
        (told,) = details(page, "error")
        assert told["remedy"] == error["remedy"]
        status = page.evaluate("() => a.getStatus()")
        assert status["state"] == "error"
        assert error["remedy"] in status["message"]
        expect(page.get_by_role("alert")).to_contain_text(error["remedy"])
        again = page.get_by_role("button", name="Retry")
        again.click()  # the page lives on, and trying again tells the same
        page.wait_for_function("() => told.filter(({ name }) => name === 'error').length === 2")
        assert page.evaluate("async () => (await llm.checkWebGPU()).available") is False
        assert page.evaluate("() => [llm.isReady(), llm.isLoading(), llm.getStatus().gpuBytes]") == [False, False, 0]
    finally:
        without.close()


def test_progress_events_fire_during_the_download_from_above_nothing_to_one(page):
    page.evaluate("(model) => llm.init(`models/${model}`)", MODEL)
    progress = details(page, "progress")
    shares = [one["progress"] for one in progress]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    downloading = [one for one in progress if one["loadedBytes"]]
    assert len(downloading) >= 3
    assert all(0 < one["progress"] < 1 for one in downloading)
    assert [one["loadedBytes"] for one in downloading] == sorted(one["loadedBytes"] for one in downloading)
    assert downloading[-1]["loadedBytes"] == downloading[-1]["totalBytes"] > 90_000_000
    assert all(one["bytesPerSecond"] > 0 for one in downloading)
    assert downloading[-1]["secondsLeft"] == 0
    assert {"Reading the header", "Loading weights", "Compiling kernels", "Ready"} <= {one["text"] for one in progress}


def test_a_streaming_answer_yields_tokens_in_order_and_ends_with_the_usage(page):
    chunks = page.evaluate(
        """async () => {
            await llm.init('tiny/tiny.gguf');
            const messages = [{ role: 'user', content: 'Count from one to five.' }];
            const chunks = [];
            const options = { stream: true, maxTokens: 12, temperature: 1.5, seed: 4 };
            for await (const chunk of await llm.chat(messages, options)) chunks.push(chunk);
            return chunks;
        }"""
    )
    *before, last = chunks
    assert before
    text, count = "", 0
    for chunk in chunks:
        text += chunk["delta"]
        assert chunk["text"] == text
        assert chunk["tokenCount"] >= count
        count = chunk["tokenCount"]
    assert [chunk["done"] for chunk in chunks] == [False] * len(before) + [True]
    assert not any("usage" in chunk for chunk in before)
    usage = last["usage"]
    assert usage["completionTokens"] == len(last["tokenIds"]) == count
    assert usage["promptTokens"] > 5
    assert usage["totalTokens"] == usage["promptTokens"] + usage["completionTokens"]
    assert last["tokensPerSecond"] > 0
    assert last["finishReason"] in ("stop", "length")
    deltas = "".join(one["delta"] for one in details(page, "token"))
    assert text.startswith(deltas)
    assert deltas


def test_switching_models_unloads_the_previous_engine(page):
    page.evaluate("() => llm.init('tiny/tiny.gguf')")
    first = page.evaluate("() => gpu.bytes")
    assert first > 0
    page.evaluate("async () => { gpu.log.length = 0; await llm.switchModel('tiny/small.gguf'); }")
    log = page.evaluate("() => gpu.log")
    created = next(place for place, (kind, *_) in enumerate(log) if kind == "create")
    assert log[created - 1][2] == 0, "nothing of the first model is held when the second begins to allocate"
    assert page.evaluate("() => Math.max(...gpu.log.map(([, , bytes]) => bytes))") < 2 * first
    held = page.evaluate("() => llm.getStatus().gpuBytes")
    assert page.evaluate("() => gpu.bytes") == held
    names = [one["name"] for one in page.evaluate("() => told") if one["name"] in ("loading", "unloaded", "ready")]
    assert names == ["loading", "ready", "loading", "unloaded", "ready"]
    page.evaluate("() => llm.unload()")
    assert page.evaluate("() => gpu.bytes") == 0


def test_the_status_stays_in_sync_with_the_runtime(page):
    seen = page.evaluate(
        """async () => {
            const badge = () => a.shadowRoot.querySelector('[part=badge]').textContent;
            const all = [];
            const look = (when) => all.push({ when, status: llm.getStatus(), widget: a.getStatus() });
            const names = ['loading', 'progress', 'ready', 'error', 'unloaded', 'generation-start', 'token',
                'generation-end'];
            const hears = names.map((name) => [`local-llm:${name}`, () => look(name)]);
            for (const [name, hear] of hears) addEventListener(name, hear);
            const shown = [];
            const frames = setInterval(() => shown.push([badge(), a.getStatus().state]), 20);
            await llm.init('tiny/tiny.gguf');
            await llm.chat([{ role: 'user', content: 'Hi' }], { maxTokens: 20, temperature: 3, seed: 4 });
            await llm.unload();
            await llm.init('tiny/nothing.gguf').catch(() => {});
            await new Promise((done) => setTimeout(done, 50));
            clearInterval(frames);
            for (const [name, hear] of hears) removeEventListener(name, hear);
            return { all, shown };
        }"""
    )
    states = []
    for one in seen["all"]:
        status, widget = one["status"], one["widget"]
        truth = (
            "loading"
            if status["isLoading"]
            else ("active" if status["isGenerating"] else "idle")
            if status["isReady"]
            else "error"
            if status["error"]
            else "disabled"
        )
        assert widget["state"] == truth, one["when"]
        assert set(widget) == {"state", "primaryMetric", "secondaryMetric", "lastActivity", "message"}
        if states[-1:] != [truth]:
            states.append(truth)
    assert states == ["loading", "idle", "active", "idle", "disabled", "loading", "error"]
    assert seen["shown"], "between the events, too"
    for shown, state in seen["shown"]:
        assert shown == BADGES[state]
