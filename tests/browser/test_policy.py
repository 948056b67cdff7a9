"""The site's own pages under their policy: everything works, nothing else runs, whatever names and texts files hold."""

from __future__ import annotations

import json

import pytest

from tests.browser.harness import SITE, boot
from tests.browser.scripted import write_scripted_gguf
from tests.browser.test_page import part
from tools import onefile

HARM = "<img src=x onerror=globalThis.harmed=1><script>globalThis.harmed=1</script>"
ANSWER = f"{HARM} ![a](https://example.invalid/a.png) <iframe src=https://example.invalid> [b](javascript:harmed=1)"
WATCH = """
globalThis.broken = [];
addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    broken.push([violatedDirective, blockedURI]));
"""
INJECT = """async () => {
    await new Promise((go) => setTimeout(go)); // the devtools' own call may do more
    const tried = [];
    try { (0, eval)('globalThis.harmed = 1'); } catch ({ name }) { tried.push(name); }
    const script = document.createElement('script');
    script.textContent = 'globalThis.harmed = 1';
    document.body.append(script);
    const other = document.createElement('script');
    const ended = new Promise((go) => { other.onerror = () => go('refused'); other.onload = () => go('run'); });
    other.src = 'https://example.invalid/a.js';
    document.body.append(other);
    tried.push(await ended);
    const picture = new Image();
    const seen = new Promise((go) => { picture.onerror = () => go('refused'); picture.onload = () => go('seen'); });
    picture.src = 'https://example.invalid/a.png';
    tried.push(await seen);
    document.body.insertAdjacentHTML('beforeend', '<p id="bad" onclick="globalThis.harmed = 1">x</p>');
    document.querySelector('#bad').click();
    await new Promise((go) => setTimeout(go, 100)); // violations are told a little later
    return { tried, harmed: globalThis.harmed ?? 0, directives: [...new Set(broken.map(([name]) => name))].sort() };
}"""
WANTED = {
    "tried": ["EvalError", "refused", "refused"],
    "harmed": 0,
    "directives": ["img-src", "script-src", "script-src-attr", "script-src-elem"],
}


@pytest.fixture
def watched(browser):
    """A page that notes what its policy refuses, and asks nothing of others."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def evil_catalog(server, folder) -> None:
    """A catalogue and a model whose every text is a tag."""
    write_scripted_gguf(folder / "evil.gguf", ANSWER)
    name = "%3Cimg%20src=x%20onerror=alert(1)%3E.gguf"
    server.files[f"/evil/{name}"] = ("application/octet-stream", (folder / "evil.gguf").read_bytes())
    words = dict.fromkeys(("name", "family", "quantization", "licence", "description"), HARM)
    models = [{"url": name, "id": f"{HARM}..", **words}, {"url": "odd.gguf", "architecture": HARM, **words}]
    server.files["/evil/catalog.json"] = ("application/json", json.dumps({"models": models}).encode())


def test_names_and_answers_stay_text_on_the_page(watched, server, tmp_path):
    evil_catalog(server, tmp_path)
    boot(watched, server.url)
    ids = watched.evaluate("() => llm.loadCatalog('evil/catalog.json')")
    watched.evaluate("(id) => llm.init(id)", ids[0])
    watched.evaluate("(id) => llm.init(id).catch(() => {})", ids[1])
    watched.evaluate("(id) => llm.init(id)", ids[0])
    part(watched, "prompt").fill(HARM)
    part(watched, "prompt").press("Enter")
    answer = watched.locator("article[data-role='assistant']")
    watched.wait_for_function(
        "() => document.querySelector('article[data-role=assistant]')?.textContent.includes('[b]')"
    )
    watched.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'")
    assert HARM in answer.text_content()
    found = watched.evaluate(
        """() => {
            const roots = [document, ...[...document.querySelectorAll('*')].flatMap((one) => one.shadowRoot ?? [])];
            const all = (what) => roots.flatMap((root) => [...root.querySelectorAll(what)]).length;
            return { tags: all('img, iframe, main script, [onerror], a[href^=javascript]'), broken,
                     harmed: globalThis.harmed ?? 0, shown: all('*') > 100 };
        }"""
    )
    assert found == {"tags": 0, "broken": [], "harmed": 0, "shown": True}
    assert {url.split("/")[2] for url in watched.asked if url.startswith("http")} == {server.url.split("/")[2]}
    assert watched.evaluate(INJECT) == WANTED


def test_the_bench_page_works_under_its_policy(watched, server):
    watched.goto(f"{server.url}bench.html")
    watched.wait_for_function("() => globalThis.ModuleLoader")
    watched.evaluate("async () => (await ModuleLoader.getModule('LocalLLM')).isReady()")
    assert watched.evaluate("() => broken") == []
    assert watched.evaluate(INJECT) == WANTED


def test_the_page_in_one_file_closes_itself(watched, tmp_path):
    (tmp_path / onefile.NAME).symlink_to((SITE / onefile.NAME).resolve())
    watched.goto((tmp_path / onefile.NAME).as_uri())
    watched.wait_for_function("() => globalThis.ModuleLoader")
    watched.evaluate("async () => (await ModuleLoader.getModule('LocalLLM')).isReady()")
    assert watched.evaluate("() => broken") == []
    assert watched.evaluate(INJECT) == WANTED
