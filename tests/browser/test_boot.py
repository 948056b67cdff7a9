"""The page starts: the service with its names, the adapter's facts, a host page's own ModuleLoader."""

from tests.browser.harness import boot, python

NAMES = (
    "init chat complete logits unload interrupt switchModel getStatus getRuntimeInfo isReady isLoading getProgress "
    "getCurrentModel getError checkWebGPU"
)


def test_service_has_the_blueprints_names(page):
    found = page.evaluate("() => Object.entries(llm).filter(([, value]) => value instanceof Function).map(([n]) => n)")
    assert set(NAMES.split()) <= set(found)


def test_status_before_init(page):
    status = page.evaluate("() => llm.getStatus()")
    assert status["isReady"] is False
    assert status["isLoading"] is False
    assert status["model"] is None
    assert status["gpuBytes"] == 0


def test_check_webgpu_names_the_adapter(page):
    found = page.evaluate("() => llm.checkWebGPU()")
    assert found["available"] is True
    assert found["softwareAdapter"] is True
    assert "swiftshader" in found["adapter"].lower()


def test_runtime_info(page):
    info = page.evaluate("() => llm.getRuntimeInfo()")
    assert info["softwareAdapter"] is True
    assert "swiftshader" in info["adapter"].lower()
    assert info["maxBindingBytes"] >= 128 << 20
    assert info["gpuBytes"] == 0


def test_python_in_the_page(page):
    code = "from local_llm import LocalLLM\nllm = LocalLLM()\n(await llm.runtime_info())['adapter'].lower()"
    assert "swiftshader" in python(page, code)


def test_unknown_option_is_refused(page):
    error = page.evaluate("() => llm.chat([], { maxToken: 3 }).catch((error) => ({ ...error, text: error.message }))")
    assert error["name"] == "InvalidRequest"
    assert "maxToken." in error["text"]
    assert "maxTokens" in error["text"]


def test_chat_before_init(page):
    error = page.evaluate("() => llm.chat([{ role: 'user', content: 'Hi' }]).catch((error) => error.name)")
    assert error == "NotReady"


def test_a_host_pages_loader_stays(blank, server):
    """In a site below a folder, which must make no difference."""
    blank.add_init_script("globalThis.ModuleLoader = { getModule: async (name) => `theirs: ${name}` };")
    boot(blank, f"{server.url}below/")
    assert blank.evaluate("() => ModuleLoader.getModule('Other')") == "theirs: Other"
    assert blank.evaluate("async () => (await ModuleLoader.getModule('LocalLLM')).isReady()") is False


def test_import_from_a_page_elsewhere(blank, server):
    server.files["/deep/er/page.html"] = ("text/html", b"<!doctype html><title>Mine</title>")
    blank.goto(f"{server.url}deep/er/page.html")
    code = """async () => {
        const { loadLocalLLM } = await import("../../local-llm.js");
        const llm = await loadLocalLLM();
        return [llm.isReady(), llm === (await ModuleLoader.getModule("LocalLLM"))];
    }"""
    assert blank.evaluate(code) == [False, True]
