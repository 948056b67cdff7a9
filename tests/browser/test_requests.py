"""Several requests at once, on the page that all tests share: a queue, and what ends one of them."""

from __future__ import annotations

import pytest

from tests.browser.stage import serve_models


@pytest.fixture(scope="module")
def tiny(page, server, tmp_path_factory):
    """Tiny models to load; nothing is loaded afterwards."""
    serve_models(server, tmp_path_factory.mktemp("tiny"))
    yield
    page.evaluate("() => llm.unload()")


QUEUE = """async (stream) => {
    await llm.init('tiny/tiny.gguf');
    const hi = [{ role: 'user', content: 'Hi' }];
    const options = { maxTokens: 120, temperature: 0, ignoreEos: true };
    const calm = (await llm.chat(hi, options)).text;
    const ask = async (signal) => {
        const answer = await llm.chat(hi, { ...options, stream, signal });
        if (!stream) return answer;
        for await (const chunk of answer) if (chunk.done) return chunk;
    };
    const told = [];
    const names = ['generation-start', 'generation-end', 'error'];
    const hear = ({ type }) => told.push(type.slice('local-llm:'.length));
    for (const name of names) addEventListener(`local-llm:${name}`, hear);
    const count = (wanted) => told.filter((name) => name === wanted).length;
    const [first, second, third] = [0, 1, 2].map(() => new AbortController());
    const asked = [first, second, third].map(({ signal }) => ask(signal).catch((error) => error.name));
    addEventListener('local-llm:token', () => second.abort(), { once: true });
    const gone = await asked[1];
    const during = [llm.getStatus().isGenerating, count('generation-end')];
    const replies = [await asked[0], await asked[2]].map(({ text, finishReason }) => [text === calm, finishReason]);
    for (const name of names) removeEventListener(`local-llm:${name}`, hear);
    return { gone, during, replies, started: count('generation-start'), errors: count('error') };
}"""


@pytest.mark.parametrize("stream", [False, True])
def test_a_waiting_request_that_is_aborted_leaves_the_running_one_alone(page, tiny, stream):
    assert page.evaluate(QUEUE, stream) == {
        "gone": "AbortError",
        "during": [True, 0],  # it left at once
        "replies": [[True, "length"], [True, "length"]],
        "started": 2,
        "errors": 0,
    }


def test_unloading_stops_a_generation_and_sends_waiting_ones_away(page, tiny):
    found = page.evaluate(
        """async () => {
            await llm.init('tiny/tiny.gguf');
            const options = { maxTokens: 230, temperature: 0, ignoreEos: true };
            const ask = () => llm.chat([{ role: 'user', content: 'Hi' }], options).catch(({ name }) => name);
            const asked = [ask(), ask()];
            let unloaded;
            addEventListener('local-llm:token', () => { unloaded = llm.unload(); }, { once: true });
            const [running, waiting] = await Promise.all(asked);
            await unloaded;
            return [running.finishReason, running.usage.completionTokens < 230, waiting,
                (await llm.getRuntimeInfo()).gpuBytes];
        }"""
    )
    assert found == ["interrupted", True, "NotReady", 0]
