"""Pages of other people: under a strict content-security policy, with their own event bus and state manager."""

from __future__ import annotations

import pytest

from tests.browser.harness import boot
from tests.browser.stage import serve_models, serve_page

POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:"
THEIRS = b"""
globalThis.heard = [];
globalThis.shelf = new Map();
globalThis.LocalLLMHost = {
  eventBus: { emit: (name, detail) => heard.push([name, detail]) },
  stateManager: { get: async (key) => shelf.get(key), set: (key, text) => void shelf.set(key, text) },
};
const widget = document.querySelector('local-llm-widget');
widget.compact = true; // before the element is defined
widget.moduleApi = undefined;
"""


@pytest.fixture(scope="module")
def page(browser, server, tmp_path_factory):
    """Ten lines that embed the widget, and a script of the page's own."""
    serve_models(server, tmp_path_factory.mktemp("tiny"))
    server.files["/theirs.js"] = ("text/javascript", THEIRS)
    content = '<h1>Mine</h1><local-llm-widget id="a"></local-llm-widget><script src="theirs.js"></script>'
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    page = browser.new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
    )
    boot(page, serve_page(server, "/theirs.html", content, head))
    yield page
    page.close()


def test_a_strict_policy_can_host_everything(page):
    reply = page.evaluate(
        """async () => {
            await llm.init('tiny/tiny.gguf');
            return llm.chat([{ role: 'user', content: 'Hi' }], { maxTokens: 3 });
        }"""
    )
    assert reply["usage"]["completionTokens"] == 3
    assert page.evaluate("() => a.getStatus().state") == "idle"
    colour = "() => getComputedStyle(a.shadowRoot.querySelector('[part=panel]')).display"
    assert page.evaluate(colour) == "grid"  # the style sheet was let in
    assert page.problems == []


def test_the_policy_is_in_force(page):
    page.evaluate("() => { const s = document.createElement('script'); s.text = '1'; document.body.append(s); }")
    assert any("script-src" in text for text in page.problems)
    page.problems.clear()


def test_properties_set_before_the_definition_count(page):
    assert page.evaluate("() => [a.compact, a.hasAttribute('compact'), Object.hasOwn(a, 'compact')]") == [
        True,
        True,
        False,
    ]
    assert page.evaluate("() => a.shadowRoot.querySelectorAll('details').length") == 0


def test_their_event_bus_hears_everything(page):
    names = page.evaluate("() => heard.map(([name]) => name)")
    order = ["loading", "progress", "ready", "generation-start", "token", "generation-end"]
    wanted = [f"local-llm:{name}" for name in order]
    assert [name for name in dict.fromkeys(names) if name in wanted] == wanted
    end = page.evaluate("() => heard.find(([name]) => name === 'local-llm:generation-end')[1]")
    assert end["completionTokens"] == 3


def test_their_state_manager_keeps_the_settings(page):
    page.wait_for_function(
        "() => JSON.parse(shelf.get('local-llm:settings') ?? 'null')?.measured?.tiny?.generations === 1"
    )
    kept = page.evaluate("() => JSON.parse(shelf.get('local-llm:settings'))")
    assert kept["model"] == "tiny/tiny.gguf"
    assert page.evaluate("() => localStorage.length") == 0


def test_analytics_keep_the_names_of_models_and_types(page):
    (facts,) = page.evaluate("() => llm.getAnalytics()")
    assert facts["model"] == "tiny"
    assert facts["bitsPerWeight"] == 32
    assert facts["tensorTypes"][0]["type"] == "F32"
    info = page.evaluate("() => llm.getRuntimeInfo()")
    assert info["quantization"]["tensorTypes"] == facts["tensorTypes"]
    assert info["performance"]["loadSeconds"]["count"] == 1
    assert "WebGPU does not say" in info["gpuLimitSource"]


def test_options_are_kept_by_their_javascript_names(page):
    assert page.evaluate("() => llm.setOptions({ maxTokens: 2 })") == {"maxTokens": 2}
    reply = page.evaluate("() => llm.chat([{ role: 'user', content: 'Hi' }])")
    assert reply["usage"]["completionTokens"] <= 2
    assert page.evaluate("() => llm.getOptions()") == {"maxTokens": 2}
    page.evaluate("() => llm.setOptions({})")


def test_a_budget_warns_the_page(page):
    page.evaluate("() => llm.setMemoryBudget(1000)")
    warning = page.evaluate("() => heard.find(([name]) => name === 'local-llm:memory-warning')[1]")
    assert warning["limitBytes"] == 1000
    assert "budget" in warning["limitSource"]
    assert "%" in page.evaluate("() => a.getStatus().secondaryMetric")
    page.evaluate("() => llm.setMemoryBudget(null)")
    assert page.evaluate("() => llm.getStatus().gpuLimit") is None


def test_unknown_models_name_their_neighbours(page):
    error = page.evaluate("() => llm.init('SmolLM2-135M').catch(({ name, remedy }) => ({ name, remedy }))")
    assert error["name"] == "UnknownModel"
    assert "SmolLM2-135M-Instruct.Q4_1" in error["remedy"]
    assert page.evaluate("() => llm.isReady()") is True
