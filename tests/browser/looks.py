"""The demo page held in the six states of its pictures. `python -m tests.browser.looks` writes docs/images anew."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from local_llm.formats.opening import open_checkpoint
from local_llm.native.blobs import open_blobs
from tests.browser.harness import ADAPTER, MODEL, ROOT, SITE, TestServer, boot, launch
from tests.browser.scripted import write_scripted_gguf
from tests.conftest import wait

IMAGES = ROOT / "docs" / "images"
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 740}
NAME = "Example-1M-F32"
QUESTION = "Write a function that tells whether a number is prime."
ANSWER = """Of course. A **prime** has exactly two divisors, so it is enough to try those up to its square root:

```python
def is_prime(n: int) -> bool:
    if n < 2:
        return False
    return all(n % d for d in range(2, int(n**0.5) + 1))
```

1. `is_prime(97)` is `True`
2. `is_prime(91)` is `False`, for 91 = 7 · 13

| n | divisors | prime |
|---:|---|---|
| 91 | 1, 7, 13, 91 | no |
| 97 | 1, 97 | yes |
"""
HELD_AT = 45  # tokens: within the code
PACE = 120  # ms: longer than the page waits between two looks of an answer

# Every read of the GPU waits for `gate`, so that an answer comes slowly and can be held where it is.
GATE = """
globalThis.gate = Promise.resolve();
globalThis.pace = 0;
const { mapAsync } = GPUBuffer.prototype;
GPUBuffer.prototype.mapAsync = async function (...words) {
  await mapAsync.apply(this, words);
  if (pace) await new Promise((go) => setTimeout(go, pace));
  await gate;
};
globalThis.holdAt = (count, ms) => (pace = ms) && addEventListener('local-llm:token', function hold({ detail }) {
  if (detail.tokenCount < count) return;
  removeEventListener('local-llm:token', hold);
  gate = new Promise((go) => { globalThis.release = go; });
  globalThis.held = true;
});
"""

EARLIER = """async () => {
    const messages = [{ role: 'user', content: 'Hi' }];
    for (let n = 8; n--; ) await llm.chat(messages, { maxTokens: 20 + 6 * n });
}"""


def phase(page: Page, name: str) -> None:
    page.wait_for_function("(name) => document.querySelector('main').dataset.phase === name", arg=name)


def part(page: Page, name: str):
    return page.locator(f"[data-part='{name}']")


def look(page: Page, size: ViewportSize, scheme: Literal["light", "dark"] = "light") -> None:
    """Another window; the page has settled when this returns."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size(size)
    page.evaluate(
        """() => {
            document.activeElement.blur();
            document.querySelector('[data-part=log]').scrollTop = 0;
            document.querySelector('[data-part=side]').open = innerWidth >= 1000;
        }"""
    )
    page.wait_for_timeout(300)


def states(browser: Browser, server: TestServer, folder: Path) -> Iterator[tuple[str, Page]]:
    """The page in each state; what it shows stays until the next one is asked for."""
    write_scripted_gguf(folder / f"{NAME}.gguf", ANSWER)
    data = (folder / f"{NAME}.gguf").read_bytes()
    server.files[f"/{NAME}.gguf"] = ("application/octet-stream", data)
    checkpoint = wait(open_checkpoint(data, open_blobs)).checkpoint
    server.header = min(tensor.start for tensor in checkpoint.tensors.values())
    page = browser.new_page(viewport=WIDE)
    page.set_default_timeout(60_000)
    page.add_init_script(GATE)
    server.go.clear()
    boot(page, f"{server.url}?model=held/{NAME}.gguf")
    part(page, "load").click()
    page.wait_for_function("() => llm.getProgress() > 0.3")
    look(page, WIDE)
    page.wait_for_timeout(700)  # the widget's own pace while loading is half a second
    yield "loading", page
    server.go.set()
    phase(page, "ready")
    page.evaluate(EARLIER)
    page.evaluate("([count, ms]) => holdAt(count, ms)", [HELD_AT, PACE])
    look(page, WIDE)
    part(page, "prompt").fill(QUESTION)
    part(page, "prompt").press("Enter")
    page.wait_for_function("() => globalThis.held")
    page.wait_for_function("() => document.querySelector('figure')?.textContent.includes('return all')")
    look(page, WIDE)
    yield "generating", page
    page.evaluate("() => { pace = 0; release(); }")
    phase(page, "ready")
    look(page, WIDE)
    yield "ready", page
    look(page, WIDE, "dark")
    yield "dark", page
    look(page, NARROW)
    yield "mobile", page
    look(page, WIDE)
    part(page, "url").fill("models/none.gguf")
    part(page, "url").press("Enter")
    phase(page, "error")
    look(page, WIDE)
    yield "error", page
    page.close()


def write_pictures() -> None:
    """docs/images/page-<state>.png, from the site as it is built."""
    with TestServer(SITE, SITE / "models" / MODEL) as server, sync_playwright() as playwright:
        browser = launch(playwright, ADAPTER)
        with tempfile.TemporaryDirectory() as folder:
            for name, page in states(browser, server, Path(folder)):
                page.screenshot(path=IMAGES / f"page-{name}.png")  # looked at by a person before it is committed
        browser.close()


if __name__ == "__main__":
    write_pictures()
