"""What is typed stays on the device: once a model is loaded, the page makes no request at all."""

from __future__ import annotations

import pytest

from tests.browser.stage import serve_models
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
def asked(page, server, tmp_path):
    """Every request of the shared page from here on; a tiny model is loaded, and was asked for."""
    serve_models(server, tmp_path)
    asked = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.evaluate(
        """async () => {
            await llm.unload();
            for (const { model } of await llm.getStoredModels()) await llm.deleteModel(model);
            await llm.init('tiny/tiny.gguf');
        }"""
    )
    assert any(url.endswith("/tiny/tiny.gguf") for url in asked)  # so requests are seen
    page.wait_for_function("async () => (await llm.getStoredModels()).some(({ whole }) => whole)")  # all is fetched
    asked.clear()
    server.requests.clear()
    yield asked
    page.evaluate("() => llm.unload()")


def test_a_chat_makes_no_request(page, server, asked):
    assert min(page.evaluate(CHAT)) > 0
    assert asked == []
    assert server.requests == []


def test_the_demo_page_makes_no_request(page, server, asked):
    page.evaluate(
        """() => addEventListener('local-llm:generation-end', ({ detail }) => { globalThis.ended = detail; },
            { once: true })"""
    )
    part(page, "prompt").fill("My name is **Ann**. ![her](https://example.invalid/picture.png)")
    part(page, "prompt").press("Enter")
    page.wait_for_function("() => globalThis.ended?.completionTokens > 0")
    page.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'")
    assert page.locator("article[data-role='assistant']").count() == 1
    assert asked == []
    assert server.requests == []
    part(page, "new").click()
