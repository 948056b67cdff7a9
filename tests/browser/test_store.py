"""Models' files in the browser's storage: whole, checked, resumed whatever a server does; listed, deleted, shared."""

from __future__ import annotations

import random
import re
import time

import pytest

from tests.browser.faults import Faulty, FaultyServer
from tests.browser.harness import ADAPTER, QUIET, boot, chromium_path, python
from tests.browser.stage import serve_models

DATA = random.Random(6).randbytes(1_000_003)
CHUNK = 1 << 17  # 8 chunks
COUNT = -(-len(DATA) // CHUNK)

RIG = f"""
import asyncio, hashlib
from local_llm.browser.library import Library
from local_llm.errors import LocalLLMError
from local_llm.transfer import Patience

patience = Patience(attempts=3, opening=3, first_seconds=0.02, most_seconds=0.5, stall_seconds=10)
library = Library(patience, {CHUNK})

async def fetched(url, sha256=None):
    try:
        blobs = await library.opener(url, sha256)(url)
        found = hashlib.sha256(await blobs.read(0, blobs.size)).hexdigest()
        for _ in range(100):
            if all(one.nbytes == one.size for one in await library.kept() if one.model == url):
                break
            await asyncio.sleep(0.02)
        await library.loaded(url)
        return found
    except LocalLLMError as error:
        return f"{{type(error).__name__}}: {{error}}"
    finally:
        library.rest()

async def kept(url):
    return [[one.nbytes, one.size, one.whole] for one in await library.kept() if one.model == url]
"""


@pytest.fixture(scope="module")
def faulty():
    with FaultyServer() as server:
        yield server


@pytest.fixture(scope="module")
def tab(browser, server):
    """A page with storage of its own."""
    context = browser.new_context()
    page = context.new_page()
    boot(page, server.url)
    yield page
    context.close()


@pytest.fixture
def file(faulty, request):
    """A sound file under a name of its own; a test puts faults in."""
    name = f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}.bin"
    faulty.files[name] = Faulty(DATA, faulty.url + name)
    return faulty.files[name]


def fetch(page, file, sha256=None):
    """[what came: a sha256 or an error, what is kept of it]."""
    rig = RIG.replace("stall_seconds=10", "stall_seconds=2") if file.stalls else RIG  # where a pause is no fault
    code = f"{rig}\n[await fetched({file.url!r}, {sha256!r}), await kept({file.url!r})]"
    return python(page, code)


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


WHOLE = [[len(DATA), len(DATA), True]]


def test_a_second_load_asks_the_network_nothing(tab, file):
    assert fetch(tab, file, file.sha256) == [file.sha256, WHOLE]
    assert file.sent == len(DATA) + 1
    file.asked.clear()
    assert fetch(tab, file, file.sha256) == [file.sha256, WHOLE]
    assert file.asked == []


def test_data_that_were_cleared_while_the_page_is_open_are_gone_and_come_again(tab, file):
    code = f"""{RIG}
import js
url, sha256 = {file.url!r}, {file.sha256!r}
found = [await fetched(url, sha256)]
files = await js.navigator.storage.getDirectory()
from pyodide.ffi import JsException
while True:
    try:
        await files.removeEntry("local-llm-models", js.JSON.parse('{{"recursive": true}}'))
        break
    except JsException as error:  # while one of the files is being written
        assert error.name in ("NoModificationAllowedError", "InvalidModificationError")
        await asyncio.sleep(0.05)
found += [await kept(url), await fetched(url, sha256), await kept(url)]
found
"""
    assert python(tab, code) == [file.sha256, [], file.sha256, WHOLE]


FAULTS = {
    "429": {"statuses": [429], "retry_after": "1"},
    "503": {"statuses": [503, 503]},
    "stalls": {"stalls": 1},
    "early-end": {"early": 2},
    "no-ranges": {"ranges": False},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_recovered(tab, file, fault):
    for name, value in FAULTS[fault].items():
        setattr(file, name, value)
    assert fetch(tab, file, file.sha256) == [file.sha256, WHOLE]
    assert file.sent <= 1.05 * len(DATA) or fault in ("early-end", "no-ranges")


def test_a_server_that_cuts_every_long_answer(tab, file, request):
    """What a busy page has not read of an answer that breaks is lost: the file is long beside the three first ones."""
    soak = request.config.getoption("--soak")
    file.data, file.cut = (DATA * 120, 3_000_000) if soak else (DATA * 8, 100_000)
    size = len(file.data)
    code = f"{RIG}\nlibrary = Library(patience, {4 << 20 if soak else CHUNK})\n"
    code += f"[await fetched({file.url!r}, {file.sha256!r}), await kept({file.url!r})]"
    assert python(tab, code) == [file.sha256, [[size, size, True]]]
    print(f"{len(file.asked)} requests, {file.sent / size:.4f} of the file sent")
    assert file.sent <= 1.05 * size


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"always": 503}, "503"),
        ({"always": 404}, "404"),
        ({"always": 416}, "416"),
        ({"kind": "text/html; charset=utf-8"}, "an HTML page"),
        ({"stalls": 99}, "no byte came for 2 seconds"),
    ],
)
def test_what_is_not_recovered_is_said(tab, file, fault, said):
    for name, value in fault.items():
        setattr(file, name, value)
    found, kept = fetch(tab, file)
    assert found.startswith("DownloadFailed: ")
    assert said in found
    assert [entry for entry in kept if entry[2]] == []


@pytest.mark.parametrize("source", ["catalogue", "header"])
def test_a_flipped_bit_is_noticed_and_nothing_is_kept(tab, file, source):
    file.flips = 1
    expected = file.sha256 if source == "catalogue" else None
    file.digest = file.sha256 if source == "header" else ""
    found, kept = fetch(tab, file, expected)
    assert found.startswith("CorruptModel: ")
    assert file.sha256 in found
    assert kept in ([], [[0, len(DATA), False]])
    assert fetch(tab, file, expected) == [file.sha256, WHOLE]


UNCHECKED = f"""{RIG}
from local_llm.browser import chunks
from local_llm.browser.vault import Refused

class Failing(chunks.WholeDigest):
    async def begin(self):
        raise Refused("RangeError", "there is no memory")

url, sha256 = %r, %r
plain, chunks.WholeDigest = chunks.WholeDigest, Failing
try:
    found = await asyncio.wait_for(fetched(url, sha256), 20)
finally:
    chunks.WholeDigest = plain
[found, await fetched(url, sha256)]
"""


def test_a_check_of_the_whole_file_that_fails_is_an_error_and_no_endless_wait(tab, file):
    found, again = python(tab, UNCHECKED % (file.url, file.sha256))
    assert found.startswith("DownloadFailed: ")
    assert "RangeError" in found
    assert again == file.sha256


DAMAGE = """
import js
from local_llm.browser.records import folder_name
from local_llm.browser.opfs import open_root

folder = await (await open_root()).folder(folder_name({url!r}))
names = [name for name in sorted(await folder.names()) if name[0] == "0"]
data = await folder.read(names[3])
data.set(js.Uint8Array.new(1), 1000)
await folder.write(names[3], data)
await folder.write(names[5], "short")
"""


def test_a_chunk_that_changed_in_storage_is_fetched_again_alone(tab, file):
    fetch(tab, file)
    file.asked.clear()
    python(tab, DAMAGE.format(url=file.url))
    assert fetch(tab, file) == [file.sha256, WHOLE]
    assert sorted(file.asked) == [f"bytes={n * CHUNK}-{(n + 1) * CHUNK - 1}" for n in (3, 5)]


def test_another_version_is_never_mixed_in(tab, file):
    code = f"""{RIG}
blobs = await library.opener({file.url!r})({file.url!r})
await blobs.read(0, 300_000)
for _ in range(200):
    if (found := await kept({file.url!r})) and found[0][0]:
        break
    await asyncio.sleep(0.02)
library.rest()
await kept({file.url!r})
"""
    file.pace = 0.2
    [[nbytes, size, whole]] = python(tab, code)
    assert 0 < nbytes < size
    assert not whole
    file.data, file.etag, file.pace = DATA[::-1], '"2"', 0.0
    assert fetch(tab, file) == [file.sha256, WHOLE]


def test_a_change_while_it_is_fetched_is_an_error(tab, file):
    file.pace, file.changes = 0.05, 2
    found, _ = fetch(tab, file)
    assert found.startswith("DownloadFailed: ")
    assert "has changed on the server" in found
    assert fetch(tab, file) == [file.sha256, WHOLE]


def test_a_full_device_is_told_before_the_download(tab, file):
    fetch(tab, file)
    code = f"{RIG}\nawait fetched({file.url!r} + '?more')"
    file.asked.clear()
    tab.evaluate(
        """() => {
            globalThis.estimate = navigator.storage.estimate;
            navigator.storage.estimate = async () => ({ usage: 49_500_000, quota: 50_000_000 });
        }"""
    )
    found = python(tab, code)
    tab.evaluate("() => { navigator.storage.estimate = globalThis.estimate; }")
    assert found.startswith("StorageFull: ")
    assert "needs 1.00 MB" in found
    assert "500 KB are missing" in found
    assert "Delete models that you do not need: " in found
    assert f"{file.url} (1.00 MB)" in found
    assert file.asked == ["bytes=0-0"]


def test_what_is_in_use_is_not_deleted(tab, file):
    code = f"""{RIG}
await fetched({file.url!r})
blobs = await library.opener({file.url!r})({file.url!r})
other = Library()
answers = []
for each in (library, other):
    try:
        answers.append(await each.delete({file.url!r}))
    except LocalLLMError as error:
        answers.append(f"{{type(error).__name__}}: {{error}}")
used = [one.used for one in await library.kept() if one.model == {file.url!r}]
library.rest()
await asyncio.sleep(0.1)
[answers, used, await other.delete({file.url!r}), await kept({file.url!r})]
"""
    answers, used, freed, left = python(tab, code)
    assert all(answer.startswith("Busy: ") for answer in answers)
    assert [used, freed, left] == [[True], len(DATA), []]


def test_two_tabs_fetch_a_model_once(tab, file, server):
    file.pace = 0.02
    second = tab.context.new_page()
    boot(second, server.url)
    start = f"{RIG}\nimport js\njs.fetching = asyncio.ensure_future(fetched({file.url!r}))\nNone"
    python(tab, start)
    assert fetch(second, file) == [file.sha256, WHOLE]
    assert python(tab, "import js\nawait js.fetching") == file.sha256
    assert file.sent == len(DATA) + 1
    second.close()


def test_a_download_goes_on_after_the_browser_was_closed(playwright, server, file, tmp_path):
    file.pace = 0.2
    for _ in range(2):
        context = playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=chromium_path(), headless=True, args=["--headless=new", *QUIET, *ADAPTER]
        )
        page = context.new_page()
        boot(page, server.url)
        if not file.sent:
            python(page, f"{RIG}\nimport js\njs.fetching = asyncio.ensure_future(fetched({file.url!r}))\nNone")
            held = f"{RIG}\nawait kept({file.url!r})"
            wait_for(lambda page=page, held=held: any(there >= 2 * CHUNK for there, _, _ in python(page, held)))
            page.wait_for_timeout(200)  # a chunk has its name before its bytes
        else:
            before, file.pace = file.sent, 0.0
            assert fetch(page, file) == [file.sha256, WHOLE]
            assert file.sent - before < 0.8 * len(DATA)
        context.close()


HELD = f"""{RIG}
import js

async def held():
    blobs = await library.opener(%r, %r)(%r)
    await blobs.read(0, blobs.size)
    await js.fetch("manifest.json?held")
    await js.waiting
    library.rest()

js.fetching = asyncio.ensure_future(held())
None
"""


def test_storage_has_a_worker_while_a_model_is_in_use(tab, file):
    tab.evaluate("() => { globalThis.waiting = new Promise((go) => { globalThis.letGo = go; }); }")
    with tab.expect_request("**/manifest.json?held"):
        python(tab, HELD % (file.url, file.sha256, file.url))
    wait_for(lambda: tab.wait_for_timeout(20) or len(tab.workers) == 1)  # the digest's ends
    assert tab.workers[0].url.rpartition("/")[2] == "vault.js"
    tab.evaluate("() => letGo()")
    python(tab, "import js\nawait js.fetching")
    wait_for(lambda: tab.wait_for_timeout(20) or not tab.workers)


LISTED = """async () => {
    await llm.loadCatalog('tiny/catalog.json');
    globalThis.row = () => {
        const { cached, deletable, keptBytes } = llm.getAvailableModels().find(({ id }) => id === 'tiny');
        return [cached, deletable, keptBytes];
    };
    const rows = [row()];
    const changed = new Promise((go) => {
        addEventListener('local-llm:storage-changed', ({ detail }) => { if (row()[0]) go(detail); });
    });
    await llm.init('tiny');
    await changed;
    rows.push(row());
    const refused = await llm.deleteModel('tiny').catch(({ name }) => name);
    await llm.pinModel('tiny');
    await llm.unload();
    const [{ id, model, whole, pinned, used }] = (await llm.getStoredModels()).filter(({ id }) => id === 'tiny');
    const { kind, keptBytes, quotaBytes } = await llm.getStorage();
    return { rows, refused, stored: [id, model, whole, pinned, used], room: [kind, keptBytes > 0, quotaBytes > 1e6] };
}"""


def test_the_page_lists_what_is_here_and_deletes_it(tab, server, tmp_path):
    serve_models(server, tmp_path)
    size = len(server.files["/tiny/tiny.gguf"][1])
    assert tab.evaluate(LISTED) == {
        "rows": [[False, False, 0], [True, True, size]],
        "refused": "Busy",
        "stored": ["tiny", f"{server.url}tiny/tiny.gguf", True, True, False],
        "room": ["opfs", True, True],
    }
    server.requests.clear()
    tab.evaluate("async () => { await llm.init('tiny'); await llm.unload(); }")
    assert [path for path, _ in server.requests if path != "/vault.js"] == []
    row = tab.locator("local-llm-widget li", has_text="on this device")
    assert row.count() == 1
    row.locator("[data-action='delete-model']").evaluate("button => button.click()")
    tab.wait_for_function("() => !row()[1]")
    assert row.count() == 0
