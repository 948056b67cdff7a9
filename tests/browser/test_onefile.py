"""dist/local-llm.html, opened from disk in a browser that is offline: it asks for nothing and answers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.browser.harness import SITE
from tests.browser.test_page import part
from tests.model.tiny import write_tiny_gguf
from tools import onefile
from tools.shell import Failure

WAIT = 120_000


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The file alone in a folder, by its file:// address; `asked` keeps every request, `problems` every error."""
    path = tmp_path_factory.mktemp("a place") / onefile.NAME
    path.symlink_to((SITE / onefile.NAME).resolve())
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.asked, page.problems = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.add_init_script(
        "addEventListener('local-llm:generation-end', ({ detail }) => { globalThis.ended = detail; });"
    )
    page.goto(path.as_uri())
    page.wait_for_function("() => globalThis.ModuleLoader")
    page.evaluate("async () => { globalThis.llm = await ModuleLoader.getModule('LocalLLM'); }")
    yield page
    context.close()


def test_a_picked_file_answers_and_nothing_is_asked_of_a_network(page, tmp_path):
    made = write_tiny_gguf(tmp_path / "picked.gguf")
    part(page, "file").set_input_files(made.path)
    page.wait_for_function("() => llm.isReady()")
    part(page, "prompt").fill("Hi")
    part(page, "prompt").press("Enter")
    page.wait_for_function("() => globalThis.ended?.completionTokens > 0")
    page.wait_for_function("() => document.querySelector('main').dataset.phase === 'ready'")
    assert page.locator("article[data-role='assistant']").last.text_content().strip()
    assert page.evaluate("() => llm.getStatus().model") == "picked"
    assert page.evaluate("() => llm.getError()") is None
    assert page.problems == []
    first, *others = page.asked
    assert first == page.url
    assert {urlsplit(url).scheme for url in others} <= {"blob", "data"}


def test_a_model_that_the_file_lacks_is_told(page):
    error = page.evaluate("() => llm.init().catch(({ name, message, remedy }) => ({ name, message, remedy }))")
    assert error["name"] == "DownloadFailed"
    assert "choose a .gguf file from your disk" in error["message"]
    assert error["remedy"] == ""  # nothing about servers: there is none


def write_site(folder, page):
    """The least that a site can be."""
    for name, text in {
        "index.html": page,
        "look.css": "b { color: red }",
        "boot.js": 'import "./bridge.js"; import.meta.url;',
        "tokenizers.js": "",
        "manifest.json": '{"tokenizers": "tokenizers.js"}',
    }.items():
        (folder / name).write_text(text)
    for name in ("pyodide", "wheels"):
        (folder / name).mkdir()
        (folder / name / "a.bin").write_bytes(b"abc")


def test_all_that_the_page_names_is_put_in(tmp_path):
    head = '<link rel="icon" href="data:,"><link rel="stylesheet" href="look.css">'
    write_site(tmp_path, f'{head}<body><script type="module" src="boot.js"></script>\n</body>')
    text = onefile.write(tmp_path).read_text()
    assert "b { color: red }" in text
    assert 'type="module"' not in text
    assert set(re.findall(r'data-file="([^"]+)"', text)) == {
        "manifest.json",
        "boot.js",
        "pyodide/a.bin",
        "wheels/a.bin",
    }


def test_what_cannot_be_put_in_stops_the_build(tmp_path):
    write_site(tmp_path, '<body><img src="picture.png"></body>')
    with pytest.raises(Failure, match=r"picture\.png"):
        onefile.write(tmp_path)
