"""<local-llm-widget> in Chromium: it wakes up, shows what the runtime does, obeys, is accessible, leaves nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.harness import MODEL, boot, python
from tests.browser.stage import WATCH, serve_models, serve_page

expect.set_options(timeout=60_000)  # a first compile of all kernels takes a while on two cores
ASIDE = '<local-llm-widget id="a" src="tiny/catalog.json"></local-llm-widget><div id="rest"></div>'


@pytest.fixture(scope="module")
def page(browser, server, tmp_path_factory):
    """A page with one widget over two tiny models."""
    serve_models(server, tmp_path_factory.mktemp("tiny"))
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.add_init_script(WATCH)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    boot(page, serve_page(server, "/widget.html", ASIDE))
    page.wait_for_function("() => a.shadowRoot.querySelectorAll('li').length === 3")
    yield page
    page.close()


@pytest.fixture(autouse=True)
def clean(request):
    """Every test begins without a model and leaves no message on the console."""
    if "page" not in request.fixturenames:
        yield
        return
    page = request.getfixturevalue("page")
    page.evaluate("async () => { await llm.unload(); told.length = 0; rest.replaceChildren(); }")
    page.problems.clear()
    yield
    assert page.problems == []


def state(page) -> str:
    return page.evaluate("() => a.getStatus().state")


def test_an_element_that_was_there_first_wakes_up(page):
    assert page.evaluate("() => a.matches(':defined') && Boolean(a.shadowRoot.querySelector('[part=panel]'))")
    assert page.evaluate("() => llm.widget") == {
        "element": "local-llm-widget",
        "displayName": "Local LLM Runtime",
        "icon": "⚡",
        "category": "ai",
    }


def test_a_taken_name_is_left_alone(page):
    code = """
from local_llm import LocalLLM
from local_llm.browser.bridge import load_bridge
from local_llm.browser.widget import Widgets
Widgets(await load_bridge(), LocalLLM()).define()
"""
    assert python(page, code) is False


def test_the_list_is_the_elements_own_catalogue(page):
    page.get_by_text("Available Models (3)").click()
    rows = page.locator("li")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("<b>Small</b>")  # as text
    expect(rows.nth(2)).to_contain_text("Architecture mamba is not supported yet.")
    expect(rows.nth(2).get_by_role("button")).to_be_disabled()
    page.get_by_text("Available Models (3)").click()


def test_one_click_loads_another_switches_and_unload_frees(page):
    page.get_by_text("Available Models (3)").click()
    page.get_by_role("button", name="Load Tiny").click()
    expect(page.get_by_text("✓ Ready")).to_be_visible()
    assert page.evaluate("() => a.getStatus().primaryMetric") == "tiny"
    page.get_by_role("button", name="Switch to <b>Small</b>").click()
    expect(page.locator("[part=model]")).to_have_text("small")
    expect(page.get_by_role("button", name="Loaded <b>Small</b>")).to_be_disabled()
    page.get_by_role("button", name="Unload Model").click()
    expect(page.get_by_text("○ Not Loaded")).to_be_visible()
    assert page.evaluate("() => gpu.bytes") == 0
    page.get_by_text("Available Models (3)").click()


def test_status_events_tell_every_change_in_order(page):
    page.evaluate(
        """async () => {
            globalThis.seen = [];
            const hear = ({ detail }) => seen.at(-1) === detail.state || seen.push(detail.state);
            document.addEventListener('local-llm:status', hear);
            await llm.init('tiny/tiny.gguf');
            await llm.chat([{ role: 'user', content: 'Hi' }], { maxTokens: 3 });
            await llm.unload();
            document.removeEventListener('local-llm:status', hear);
        }"""
    )
    assert page.evaluate("() => seen") == ["loading", "idle", "active", "idle", "disabled"]


def test_progress_is_shown_as_a_progress_bar(page):
    page.evaluate(
        """async () => {
            globalThis.bars = [];
            const look = new MutationObserver(() => {
                const bar = a.shadowRoot.querySelector('progress');
                if (bar) bars.push([bar.getAttribute('aria-label'), bar.value, bar.max]);
            });
            look.observe(a.shadowRoot, { subtree: true, childList: true, attributes: true });
            await llm.init('tiny/tiny.gguf');
            look.disconnect();
        }"""
    )
    bars = page.evaluate("() => bars")
    assert bars
    assert all(label == "Loading tiny" and 0 <= value <= 1 and most == 1 for label, value, most in bars)
    assert [value for _, value, _ in bars] == sorted(value for _, value, _ in bars)
    assert page.locator("progress").count() == 0


def test_controls_act(page):
    page.evaluate("() => a.setAttribute('model', 'tiny')")
    controls = "() => a.getControls().map(({ id, label }) => [id, label])"
    assert page.evaluate(controls) == [["load-model", "⚡ Load Model"]]
    page.evaluate("() => a.getControls()[0].action()")
    assert page.evaluate(controls) == [["unload-model", "⛶ Unload Model"]]
    page.evaluate("() => a.getControls()[0].action()")
    assert state(page) == "disabled"
    page.evaluate("() => a.removeAttribute('model')")


def test_an_error_is_text_with_a_remedy_and_can_be_tried_again(page, server):
    page.evaluate("() => llm.init('tiny/<img src=x onerror=alert(1)>.gguf').catch(() => {})")
    page.problems.clear()  # Chromium reports the 404
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("<img src=x onerror=alert(1)>.gguf")
    assert page.locator("local-llm-widget img").count() == 0
    assert page.locator("[part=remedy]").inner_text()
    assert state(page) == "error"
    assert page.evaluate("() => a.getControls().map(({ id }) => id)") == ["retry", "load-model"]
    good = server.files["/tiny/tiny.gguf"]
    server.files["/tiny/%3Cimg%20src=x%20onerror=alert(1)%3E.gguf"] = good
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("✓ Ready")).to_be_visible()
    expect(alert).to_have_count(0)


def test_stop_ends_a_generation(page):
    reply = page.evaluate(
        """async () => {
            await llm.init('tiny/tiny.gguf');
            const stop = () => a.shadowRoot.querySelector('[data-action=stop-generation]')?.click();
            addEventListener('local-llm:token', stop);
            const long = { maxTokens: 230, temperature: 3, seed: 4 };
            const reply = await llm.chat([{ role: 'user', content: 'Hi' }], long);
            removeEventListener('local-llm:token', stop);
            return reply;
        }"""
    )
    assert reply["finishReason"] == "interrupted"
    assert 0 < reply["usage"]["completionTokens"] < 230
    assert state(page) == "idle"


def test_stop_ends_a_load(page):
    error = page.evaluate(
        """async (model) => {
            const stop = ({ detail }) => {
                if (!detail.loadedBytes) return;
                removeEventListener('local-llm:progress', stop); // once: the first control of a stopped widget loads
                setTimeout(() => a.getControls()[0].action());
            };
            addEventListener('local-llm:progress', stop);
            return llm.init(`models/${model}`).catch(({ name }) => name);
        }""",
        MODEL,
    )
    assert error == "NotReady"
    page.wait_for_function("() => gpu.bytes === 0")
    assert state(page) == "disabled"
    page.evaluate("() => llm.init('tiny/tiny.gguf')")
    assert state(page) == "idle"


def test_several_widgets_share_the_service(page):
    page.evaluate("() => rest.append(document.createElement('local-llm-widget'))")
    page.evaluate("() => llm.init('tiny/tiny.gguf')")
    expect(page.get_by_text("✓ Ready")).to_have_count(2)
    assert page.evaluate("() => rest.firstChild.shadowRoot.querySelectorAll('li').length") > 3


def test_two_hundred_times_in_and_out_leaves_nothing(page):
    held = """
import gc
from js import timers
from pyodide_js import _module
gc.collect()
kinds = [type(one).__name__ for one in gc.get_objects()]
[timers.size, int(_module._hiwire_num_refs()), *(kinds.count(kind) for kind in ("Panel", "Mounted", "Controller"))]
"""
    turn = """async (times) => {
        for (let n = 0; n < times; n++) {
            const widget = document.createElement('local-llm-widget');
            widget.compact = n % 2;
            rest.append(widget);
            widget.getStatus();
            widget.getControls();
            widget.remove();
        }
        await new Promise((done) => setTimeout(done, 200));
    }"""
    page.evaluate(turn, 3)
    page.evaluate("() => llm.pyodide._module.enable_pyproxy_allocation_tracing()")
    before = python(page, held)
    page.evaluate(turn, 200)
    for _ in range(50):  # a callback or a timer may be under way; what leaks stays
        after = python(page, held)
        proxies = page.evaluate("() => llm.pyodide._module.pyproxy_alloc_map.size")
        if abs(after[1] - before[1]) <= 2 and proxies <= 4:
            break
        page.wait_for_timeout(100)
    assert before[0] == after[0] == 1
    assert after[2:] == before[2:]
    assert abs(after[1] - before[1]) <= 2
    assert proxies <= 4  # what python() itself holds
    assert page.evaluate("() => document.querySelectorAll('local-llm-widget').length") == 1


def test_one_timer_whose_pace_follows_the_state(page):
    assert page.evaluate("() => [...timers.values()]") == [5000]
    page.evaluate(
        """async () => {
            globalThis.paces = new Set();
            const hear = () => paces.add([...timers.values()].join());
            addEventListener('local-llm:progress', hear);
            await llm.init('tiny/tiny.gguf');
            removeEventListener('local-llm:progress', hear);
        }"""
    )
    assert set(page.evaluate("() => [...paces]")) <= {"500", "5000"}
    assert "500" in page.evaluate("() => [...paces]")
    assert page.evaluate("() => [...timers.values()]") == [5000]
    assert page.evaluate("() => { globalThis.out = a; out.remove(); return timers.size; }") == 0
    page.evaluate("() => document.body.prepend(out)")
    page.wait_for_function("() => timers.size === 1 && a.shadowRoot.querySelectorAll('li').length === 3")


def test_the_keyboard_works_and_focus_stays_in_the_widget(page):
    page.evaluate("() => a.setAttribute('model', 'tiny')")
    page.get_by_role("button", name="Load Model").focus()
    page.evaluate("() => { for (let n = 0; n < 5; n++) a.render(); }")
    assert page.evaluate("() => a.shadowRoot.activeElement.dataset.action") == "load-model"
    page.keyboard.press("Enter")
    expect(page.get_by_text("✓ Ready")).to_be_visible()
    assert page.evaluate("() => document.activeElement === a")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement === a")
    page.evaluate("() => a.removeAttribute('model')")


def test_a_screen_reader_is_told(page):
    page.evaluate("() => llm.init('tiny/tiny.gguf')")
    expect(page.get_by_role("status")).to_have_text("tiny is ready")
    expect(page.get_by_role("region", name="Local LLM Runtime")).to_have_count(1)
    expect(page.get_by_role("heading", name="Local LLM Runtime")).to_have_count(1)


def test_attributes_and_properties_mirror_each_other(page):
    found = page.evaluate(
        """() => {
            const widget = document.createElement('local-llm-widget');
            widget.model = 'tiny';
            widget.compact = true;
            widget.src = 'x.json';
            const one = [widget.outerHTML, widget.autoload];
            widget.removeAttribute('compact');
            widget.setAttribute('autoload', '');
            widget.model = null;
            return [...one, widget.compact, widget.autoload, widget.model, widget.getStatus().state];
        }"""
    )
    assert found[0] == '<local-llm-widget model="tiny" compact="" src="x.json"></local-llm-widget>'
    assert found[1:] == [False, False, True, "", "disabled"]


def test_the_catalogue_follows_its_attribute(page):
    rows = "() => a.shadowRoot.querySelectorAll('li').length"
    page.evaluate("() => { a.src = ''; }")
    page.wait_for_function("() => a.shadowRoot.querySelectorAll('li').length > 3")
    before = page.evaluate(rows)
    page.evaluate("() => { a.src = 'tiny/none.json'; }")
    page.wait_for_function("() => told.some(({ name, detail }) => name === 'error' && detail.remedy)")
    assert page.evaluate(rows) == before
    alert = page.locator("#a [part=error]")
    expect(alert).to_contain_text("tiny/none.json; the server answered 404")
    expect(alert.locator("[part=remedy]")).not_to_be_empty()
    assert page.evaluate("() => a.getStatus().state") != "error", "the service is none the worse"
    page.evaluate("() => { a.src = 'tiny/catalog.json'; }")
    expect(alert).to_have_count(0)
    page.wait_for_function("() => a.shadowRoot.querySelectorAll('li').length === 3")
    page.problems.clear()  # Chromium reports the 404, and the widget does


def test_compact_shows_less(page):
    page.evaluate("() => { a.compact = true; }")
    expect(page.get_by_text("Available Models")).to_have_count(0)
    page.evaluate("() => { a.compact = false; }")
    expect(page.get_by_text("Available Models (3)")).to_be_visible()


def test_autoload_loads_the_elements_model(page):
    page.evaluate(
        "() => { rest.innerHTML = '<local-llm-widget model=\"tiny/small.gguf\" autoload></local-llm-widget>'; }"
    )
    page.wait_for_function("() => a.getStatus().primaryMetric === 'small' && llm.isReady()")


def test_another_service_can_stand_behind_it(page):
    page.evaluate(
        """() => {
            globalThis.other = {
                done: [],
                status: { isReady: true, model: 'theirs', gpuBytes: 5e6, statistics: { generations: 7 } },
                getStatus() { return this.status; },
                getAvailableModels() {
                    const old = { id: 'old', name: 'Old', cached: true, deletable: !this.done.includes('old') };
                    return [{ id: 'theirs', name: 'Theirs', downloadBytes: 5e6 }, old];
                },
                async deleteModel(id) { this.done.push(id); },
                async unload() { this.done.push('unload'); this.status = { error: 'Broken.' }; },
            };
            const widget = document.createElement('local-llm-widget');
            widget.moduleApi = other;
            rest.append(widget);
            globalThis.b = widget;
        }"""
    )
    assert page.evaluate("() => b.getStatus()")["primaryMetric"] == "theirs"
    assert "5.00 MB" in page.evaluate("() => b.shadowRoot.textContent")
    assert page.evaluate("() => timers.size") == 2
    page.evaluate("() => b.shadowRoot.querySelector('[data-action=delete-model]').click()")
    page.wait_for_function("() => !b.shadowRoot.querySelector('[data-action=delete-model]')")
    page.evaluate("() => b.getControls()[0].action()")
    assert page.evaluate("() => other.done") == ["old", "unload"]
    assert page.evaluate("() => b.getStatus()")["message"] == "Error: Broken."
    assert "Broken." in page.evaluate("() => b.shadowRoot.textContent")
    page.evaluate("() => { b.moduleApi = llm; }")
    assert page.evaluate("() => [b.getStatus().state, timers.size]") == ["disabled", 1]
    page.evaluate("() => { b.moduleApi = other; b.remove(); }")
    assert page.evaluate("() => timers.size") == 1


def test_nothing_sticks_out_at_360_pixels(page):
    page.get_by_text("Available Models (3)").click()
    page.evaluate("() => llm.init('tiny/tiny.gguf')")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.get_by_text("Available Models (3)").click()


def test_a_python_author_can_change_the_view(page):
    code = """
from local_llm.browser.bridge import load_bridge
from local_llm.browser.widget import Widgets
from local_llm.widget.tree import h
from local_llm.widget.view import View
from local_llm import LocalLLM

class Mine(View):
    sections = ("header", "poem")

    def poem(self, snapshot):
        return h("p", f"Oh {snapshot.model}")

import js
js.mine = None
Widgets(await load_bridge(), LocalLLM(), Mine()).define("my-widget")
"""
    assert python(page, code) is True
    page.evaluate("() => rest.append(document.createElement('my-widget'))")
    assert "Oh None" in page.evaluate("() => rest.firstChild.shadowRoot.textContent")
