"""A model for which there is no room: the widget names what would give way, deletes just that and loads."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.harness import boot
from tests.browser.stage import serve_models, serve_page

NARROW = """(quota) => {
    navigator.storage.estimate = async () => {
        const usage = (await llm.getStoredModels()).reduce((sum, { nbytes }) => sum + nbytes, 0);
        return { usage, quota };
    };
}"""
KEPT = "async () => (await llm.getStoredModels()).map(({ model }) => model.split('/').pop())"
REFUSED = "async () => [await llm.init('small').catch(({ name }) => name), llm.getStatus().givingWay]"


@pytest.fixture
def page(browser, server, tmp_path):
    """A page with a widget and storage of its own."""
    serve_models(server, tmp_path)
    context = browser.new_context(viewport={"width": 360, "height": 800})
    page = context.new_page()
    boot(page, serve_page(server, "/room.html", '<local-llm-widget src="tiny/catalog.json"></local-llm-widget>'))
    yield page
    context.close()


def test_what_gives_way_is_named_and_deleted(page, server):
    page.wait_for_function("() => llm.getAvailableModels().some(({ id }) => id === 'small')")
    page.evaluate("async () => { await llm.init('tiny'); await llm.unload(); await llm.pinModel('tiny'); }")
    size = len(server.files["/tiny/tiny.gguf"][1])
    page.evaluate(NARROW, size + 1000)
    assert page.evaluate(REFUSED) == ["StorageFull", []]  # what is there is pinned
    button = page.get_by_role("button", name="Delete tiny")
    expect(page.get_by_role("alert")).to_contain_text("are missing")
    expect(button).to_have_count(0)

    page.evaluate("() => llm.pinModel('tiny', false)")
    way = [{"model": f"{server.url}tiny/tiny.gguf", "name": "tiny", "nbytes": size}]
    assert page.evaluate(REFUSED) == ["StorageFull", way]
    expect(page.get_by_role("alert")).to_contain_text("used longest ago: tiny (")
    assert page.evaluate(KEPT) == ["tiny.gguf"]
    button.click()
    expect(page.get_by_text("✓ Ready")).to_be_visible(timeout=60_000)
    assert page.evaluate("() => llm.getCurrentModel()") == "small"
    page.wait_for_function(f"async () => String(await ({KEPT})()) === 'small.gguf'")
    expect(page.get_by_role("alert")).to_have_count(0)
