"""What is typed stays on the device: once a model is loaded, the page makes no request at all."""

from __future__ import annotations

import pytest

from tests.browser.harness import boot
from tests.browser.stage import serve_models, serve_page
from tests.browser.test_page import part

CHAT = """async () => {
    const messages = [{ role: "user", content: "My name is Ann." }];
    const reply = await llm.chat(messages, { maxTokens: 4 });
    messages.push({ role: "assistant", content: reply.text }, { role: "user", content: "What is it?" });
    let tokens = 0;
    for await (const chunk of await llm.chat(messages, { stream: true, maxTokens: 4 })) tokens = chunk.tokenCount;
    return [reply.usage.completionTokens, tokens];
}"""


@pytest.fixture
def asked(blank, server, tmp_path):
    """Every request of the page `blank` from its birth."""
    serve_models(server, tmp_path)
    asked = []
    blank.set_default_timeout(120_000)
    blank.context.on("request", lambda request: asked.append(request.url))
    blank.on("websocket", lambda socket: asked.append(socket.url))
    return asked


def test_a_chat_makes_no_request(blank, server, asked):
    boot(blank, serve_page(server, "/quiet.html", "<local-llm-widget></local-llm-widget>"))
    blank.evaluate("() => llm.init('tiny/tiny.gguf')")
    assert any(url.endswith("/tiny/tiny.gguf") for url in asked)  # so requests are seen
    before, served = len(asked), len(server.requests)
    assert min(blank.evaluate(CHAT)) > 0
    assert asked[before:] == []
    assert server.requests[served:] == []


def test_the_demo_page_makes_no_request(blank, server, asked):
    boot(blank, f"{server.url}?model=tiny/tiny.gguf")
    blank.evaluate("() => llm.init('tiny/tiny.gguf')")
    blank.evaluate("() => addEventListener('local-llm:generation-end', ({ detail }) => { globalThis.ended = detail; })")
    before, served = len(asked), len(server.requests)
    part(blank, "prompt").fill("My name is **Ann**. ![her](https://example.invalid/picture.png)")
    part(blank, "prompt").press("Enter")
    blank.wait_for_function("() => globalThis.ended?.completionTokens > 0")
    blank.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'")
    assert asked[before:] == []
    assert server.requests[served:] == []
