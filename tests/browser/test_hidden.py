"""A tab in the background gets no animation frames and slow timers: a generation goes on there all the same."""

from __future__ import annotations

from tests.browser.harness import boot
from tests.browser.stage import serve_models

STORY = """async () => {
    let frames = 0;
    const count = () => { frames++; requestAnimationFrame(count); };
    requestAnimationFrame(count);
    await llm.init('tiny/tiny.gguf');
    const options = { maxTokens: 150, temperature: 0, ignoreEos: true };
    const text = async () => (await llm.chat([{ role: 'user', content: 'Hi' }], options)).text;
    const before = await text();
    globalThis.hide();
    const seen = frames;
    const begun = performance.now();
    let [last, hidden] = [null, true];
    const hi = [{ role: 'user', content: 'Hi' }];
    for await (const chunk of await llm.chat(hi, { ...options, stream: true })) {
        hidden &&= document.visibilityState === 'hidden';
        last = chunk;
    }
    return { same: last.text === before, hidden, frames: frames - seen, seconds: (performance.now() - begun) / 1000 };
}"""
# Headless Chromium never hides a page by itself: what a hidden page lacks is taken from it.
HIDE = """
const { requestAnimationFrame: frame, setTimeout: wait } = globalThis;
let hidden = false;
globalThis.requestAnimationFrame = (work) => hidden ? 0 : frame((now) => hidden || work(now));
globalThis.setTimeout = (work, ms = 0, ...rest) => wait(work, hidden ? Math.max(1000, ms) : ms, ...rest);
globalThis.hide = () => {
  hidden = true;
  for (const [name, value] of [["visibilityState", "hidden"], ["hidden", true]])
    Object.defineProperty(document, name, { configurable: true, get: () => value });
  document.dispatchEvent(new Event("visibilitychange"));
};
"""


def test_a_generation_goes_on_in_a_hidden_page(browser, server, tmp_path):
    serve_models(server, tmp_path)
    page = browser.new_page()
    try:
        page.add_init_script(HIDE)
        boot(page, server.url)
        result = page.evaluate(STORY)
    finally:
        page.close()
    assert result["same"]
    assert result["hidden"]
    assert result["frames"] == 0
    assert result["seconds"] < 30
