"""The demo page with a tiny model: answers rendered safely, edits, what is kept and saved, models by drop or URL."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.harness import boot
from tests.browser.stage import serve_models

expect.set_options(timeout=60_000)  # a first compile of all kernels takes a while on two cores
CODE = 'print("<b>")\n'
ANSWER = f"""See **this** [page](https://example.org/) and [that](javascript:alert(1)).

<img src=x onerror="globalThis.harmed = true"><script>globalThis.harmed = true</script>

```python
{CODE}```
"""
KEPT = {
    "version": 1,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "the <b>sea</b>"},
        {"role": "assistant", "content": ANSWER, "note": "7 tokens"},
    ],
}
READY = "() => document.querySelector('main').dataset.phase === 'ready'"


@pytest.fixture(scope="module")
def page(browser, server, tmp_path_factory):
    """The page with a kept conversation and a tiny model to load."""
    serve_models(server, tmp_path_factory.mktemp("tiny"))
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{server.url}bench.html")
    page.evaluate("(text) => localStorage.setItem('local-llm:conversation', text)", json.dumps(KEPT))
    boot(page, f"{server.url}?model=tiny/tiny.gguf")
    expect(page.locator("article")).to_have_count(2)
    yield page
    context.close()


HEAR = """(text) => {
    globalThis.said = false;
    const look = () => { globalThis.said ||= document.body.innerText.includes(text); };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def part(page, name):
    return page.locator(f"[data-part='{name}']")


def kept(page):
    return json.loads(page.evaluate("() => localStorage.getItem('local-llm:conversation')"))


def test_an_answer_is_rendered_and_harms_nobody(page):
    answer = page.locator("article .answer")
    assert answer.locator("strong").text_content() == "this"
    links = answer.locator("a").evaluate_all("(all) => all.map(({ href, rel, target }) => [href, rel, target])")
    assert links == [["https://example.org/", "noopener noreferrer", "_blank"]]
    assert answer.locator("img, script").count() == 0
    assert "<script>globalThis.harmed = true</script>" in answer.text_content()
    assert page.evaluate("() => globalThis.harmed") is None
    assert page.locator("article p").first.text_content() == "the <b>sea</b>"


def test_code_is_copied(page):
    page.evaluate(HEAR, "Copied.")  # it passes
    page.get_by_role("button", name="Copy this code").click()
    page.wait_for_function("() => globalThis.said")
    assert page.evaluate("() => navigator.clipboard.readText()") == CODE


def test_the_conversation_is_saved_as_a_file(page):
    page.get_by_text("Save the conversation").click()
    with page.expect_download() as download:
        part(page, "export-json").click()
    assert download.value.suggested_filename == "conversation.json"
    with open(download.value.path(), encoding="utf-8") as file:
        said = json.load(file)["messages"]
    assert [one["role"] for one in said] == ["system", "user", "assistant"]
    assert said[2]["content"] == ANSWER


def test_edit_send_ask_again_and_come_back(page, server):
    page.get_by_text("Settings", exact=True).click()
    for name, value in {"max_tokens": "9", "temperature": "1.5", "seed": "3"}.items():
        part(page, name).fill(value)
        part(page, name).blur()
    page.get_by_role("button", name="Edit this message").click()
    assert part(page, "prompt").input_value() == "the <b>sea</b>"
    assert page.locator("article").count() == 0
    part(page, "prompt").fill("the sea and the sea")
    part(page, "prompt").press("Enter")
    again = page.get_by_role("button", name="Answer again")
    expect(again).to_be_visible()
    page.wait_for_function("() => JSON.parse(localStorage.getItem('local-llm:conversation')).messages.length === 2")
    first = kept(page)["messages"]
    assert [one["role"] for one in first] == ["user", "assistant"]
    assert first[1]["note"].startswith("9 tokens")
    part(page, "seed").fill("4")
    part(page, "seed").blur()
    again.click()
    page.wait_for_function(
        "(before) => !localStorage.getItem('local-llm:conversation').includes(before) && llm.isReady()"
        " && document.querySelector('[data-action=regenerate]')",
        arg=json.dumps(first[1]["content"]),
    )
    second = kept(page)["messages"]
    assert second[0] == first[0]
    assert second[1]["content"] != first[1]["content"]
    boot(page, f"{server.url}?model=tiny/tiny.gguf")
    expect(page.locator("article")).to_have_count(2)
    assert page.locator("article p").first.text_content() == "the sea and the sea"
    assert [part(page, name).input_value() for name in ("seed", "max_tokens", "system")] == ["4", "9", "Be brief."]


def test_a_wrong_setting_and_a_failed_load_are_told(page):
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    part(page, "seed").fill("soon")
    part(page, "seed").blur()
    expect(page.get_by_role("alert").filter(has_text="'seed' must be a whole number")).to_be_visible()
    part(page, "url").fill("tiny/none.gguf")
    part(page, "url").press("Enter")
    toast = part(page, "toasts").get_by_role("alert").filter(has_text="none.gguf")
    expect(toast).to_be_visible()
    toast.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)
    part(page, "prompt").fill("nothing is lost")
    part(page, "prompt").press("Enter")  # the chosen model still cannot be loaded
    expect(toast).to_be_visible()
    expect(part(page, "prompt")).to_have_value("nothing is lost")
    assert page.locator("article").count() == 2


def test_a_model_by_url_and_by_drop(page):
    part(page, "url").fill("tiny/small.gguf")
    part(page, "url").press("Enter")
    page.wait_for_function(READY)
    assert page.evaluate("() => llm.getCurrentModel()") == "small"
    page.evaluate(
        """async () => {
            const bytes = await (await fetch("tiny/tiny.gguf")).arrayBuffer();
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "dropped.gguf"));
            for (const name of ["dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
            }
        }"""
    )
    page.wait_for_function("() => llm.getCurrentModel() === 'dropped'")
    page.wait_for_function(READY)
    assert page.evaluate("() => 'dropping' in document.querySelector('main').dataset") is False


def test_while_the_model_loads_stop_takes_the_message_back(browser, server, tmp_path):
    serve_models(server, tmp_path)
    server.go.clear()
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    boot(page, f"{server.url}?model=held/tiny/tiny.gguf")
    part(page, "prompt").fill("the sea")
    part(page, "prompt").press("Enter")
    page.wait_for_function("() => document.querySelector('main').dataset.phase === 'loading'")
    expect(part(page, "send")).to_be_hidden()
    part(page, "stop").click()
    expect(part(page, "prompt")).to_have_value("the sea")
    expect(part(page, "stop")).to_be_hidden()
    server.go.set()
    page.wait_for_function(READY)
    expect(part(page, "send")).to_be_enabled()
    assert page.locator("article").count() == 0
    context.close()
