"""Models to a file and back, and models in the browser's database where there is no private file system."""

from __future__ import annotations

from tests.browser.faults import Faulty
from tests.browser.harness import boot, python
from tests.browser.stage import serve_models
from tests.browser.test_store import CHUNK, DATA, RIG, WHOLE, faulty, file, tab

__all__ = ["faulty", "file", "tab"]  # fixtures


def without_opfs(page, code):
    """The value of Python code in a page that has no private file system meanwhile."""
    hidden = "Object.defineProperty(navigator.storage, 'getDirectory', { value: undefined, configurable: true })"
    page.evaluate(f"() => void {hidden}")
    try:
        return python(page, code)
    finally:
        page.evaluate("() => { delete navigator.storage.getDirectory; }")


INDEXED = f"""{RIG}
import js
from local_llm.browser.indexed import open_indexed
from local_llm.browser.records import folder_name

url, sha256 = %r, %r

async def worked():
    found = [await fetched(url, sha256), await fetched(url, sha256), await kept(url), (await library.room())["kind"]]
    folder = await (await open_indexed()).folder(folder_name(url))
    name = sorted(await folder.names())[3]
    data = await folder.read(name)
    data.set(js.Uint8Array.new(1), 1000)
    await folder.write(name, data)
    found += [await fetched(url, sha256), await kept(url)]
    await library.pin(url, True)
    found += [[one.pinned for one in await library.kept()], await library.delete(url), await kept(url)]
    return found
"""


def test_where_there_is_no_private_file_system_the_database_keeps_models(tab, file):
    found = without_opfs(tab, INDEXED % (file.url, file.sha256) + "await worked()")
    whole = [file.sha256, WHOLE]
    assert found == [file.sha256, *whole, "indexeddb", *whole, [True], len(DATA), []]
    assert file.asked[1:] == [*file.asked[1:-1], f"bytes={3 * CHUNK}-{4 * CHUNK - 1}"]
    assert file.sent == len(DATA) + 1 + CHUNK


WITHOUT_WORKERS = f"""{RIG}
import js
worker, js.Worker = js.Worker, None
found = [await fetched(%r, %r) for visit in range(2)]
js.Worker = worker
[*found, await kept(%r)]
"""


def test_a_page_without_workers_keeps_models_too(tab, file):
    found = python(tab, WITHOUT_WORKERS % (file.url, file.sha256, file.url))
    assert found == [file.sha256, file.sha256, WHOLE]
    assert file.sent == len(DATA) + 1


def test_a_flipped_bit_on_the_way_to_the_database(tab, file):
    file.flips = 1
    code = "[await fetched(url, sha256), await kept(url), await fetched(url, sha256)]"
    found, kept, again = without_opfs(tab, INDEXED % (file.url, file.sha256) + code)
    assert found.startswith("CorruptModel: ")
    assert kept in ([], [[0, len(DATA), False]])
    assert again == file.sha256


ORPHANS = f"""{RIG}
import js
from local_llm.browser.opfs import open_root
from local_llm.browser.records import IMPORTED, About, folder_name, write_about

url = %r
folder = await (await open_root()).folder(folder_name(url))
for index in range(3):
    await folder.keep(f"{{index:06d}}", js.Uint8Array.new({CHUNK}))
if %r:
    await write_about(folder, About(url, url, {CHUNK}, {len(DATA)}, note=IMPORTED))
listed = [await kept(url), await library.delete(url) if %r else 0]
listed + [await fetched(url)]
"""


def test_what_a_page_leaves_that_dies_while_it_imports_is_never_mixed_in(tab, file):
    left = [3 * CHUNK, len(DATA), False]
    assert python(tab, ORPHANS % (file.url, False, False)) == [[], 0, file.sha256]  # without a record
    file.url += "?again"
    assert python(tab, ORPHANS % (file.url, True, False)) == [[left], 0, file.sha256]
    file.url += "-and-again"
    assert python(tab, ORPHANS % (file.url, True, True)) == [[left], 3 * CHUNK, file.sha256]


CARRIED = """async () => {
    await llm.init('tiny');
    const refused = await llm.exportModel('small').catch(({ name }) => name);
    const { name, blob: kept } = await llm.exportModel('tiny');
    const blob = new Blob([await kept.arrayBuffer()]); // saved by a person
    const busy = await llm.importModel(new File([blob], name)).catch(({ name }) => name);
    await llm.unload();
    await llm.deleteModel('tiny');
    const half = new File([blob.slice(0, blob.size / 2)], name);
    const cut = await llm.importModel(half).catch(({ name }) => name);
    const unknown = await llm.importModel(new File([blob], 'other.gguf')).catch(({ name }) => name);
    const nothing = (await llm.getStoredModels()).length;
    const [address] = await llm.importModel(new File([blob], name));
    const [{ id, model, whole }] = await llm.getStoredModels();
    return { name, size: blob.size, told: [refused, busy, cut, unknown], nothing, address, kept: [id, model, whole] };
}"""


def test_a_model_goes_to_a_file_and_comes_back(browser, server, tmp_path):
    serve_models(server, tmp_path)
    context = browser.new_context()
    page = context.new_page()
    boot(page, server.url)
    page.evaluate("() => llm.loadCatalog('tiny/catalog.json')")
    address = f"{server.url}tiny/tiny.gguf"
    assert page.evaluate(CARRIED) == {
        "name": "tiny.gguf",
        "size": len(server.files["/tiny/tiny.gguf"][1]),
        "told": ["UnknownModel", "Busy", "CorruptModel", "InvalidRequest"],
        "nothing": 0,
        "address": address,
        "kept": ["tiny", address, True],
    }
    server.requests.clear()
    page.evaluate("() => llm.init('tiny')")
    assert [path for path, _ in server.requests if path != "/vault.js"] == []
    context.close()


def press(page, action):
    page.locator(f"local-llm-widget [data-action='{action}']").first.evaluate("button => button.click()")


def test_the_list_of_models_pins_saves_and_imports(browser, server, tmp_path):
    serve_models(server, tmp_path)
    context = browser.new_context()
    page = context.new_page()
    boot(page, server.url)
    page.evaluate("async () => { await llm.loadCatalog('tiny/catalog.json'); await llm.init('tiny'); }")
    page.evaluate("() => llm.unload()")
    press(page, "pin-model")
    page.wait_for_function("async () => (await llm.getStoredModels())[0]?.pinned")
    press(page, "unpin-model")
    page.wait_for_function("async () => (await llm.getStoredModels())[0]?.pinned === false")
    with page.expect_download() as saving:
        press(page, "export-model")
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    assert saved.read_bytes() == server.files["/tiny/tiny.gguf"][1]
    press(page, "delete-model")
    page.wait_for_function("async () => !(await llm.getStoredModels()).length")
    with page.expect_file_chooser() as choosing:
        page.locator("local-llm-widget summary").first.click()
        page.locator("local-llm-widget [data-action='import-model']").first.click()
    choosing.value.set_files(saved)
    page.wait_for_function("async () => (await llm.getStoredModels())[0]?.whole")
    context.close()


FAILED = f"""{RIG}
import js
from local_llm.browser import opfs
from local_llm.browser.folders import full
from local_llm.browser.records import folder_name
from pyodide.ffi import to_js

url, keep = %r, opfs.OpfsFolder._keep

async def late(self, name, data):
    if name == "000000":
        raise full()
    await asyncio.sleep(1)
    return await keep(self, name, data)

def body(byte):
    return js.Blob.new(to_js([js.Uint8Array.new(3 * {CHUNK}).fill(byte)]))

opfs.OpfsFolder._keep = late
try:
    found = await library.adopt(body(1), url)
except LocalLLMError as error:
    found = type(error).__name__
opfs.OpfsFolder._keep = keep
await library.adopt(body(2), url)
await asyncio.sleep(2)
names = await (await (await opfs.open_root()).folder(folder_name(url))).names()
[found, sorted(name[:6] for name in names if name[0] == "0"), await library.delete(url)]
"""


def test_an_import_that_fails_leaves_nothing_for_the_next_one(tab, file):
    numbers = ["000000", "000001", "000002"]
    assert python(tab, FAILED % file.url) == ["StorageFull", numbers, 3 * CHUNK]


PACKED = f"""{RIG}
import js
from pyodide.ffi import to_js

model, urls = %r, %r

async def loaded():
    open_ = library.opener(model)
    blobs = [await open_(url) for url in urls]
    found = [hashlib.sha256(await one.read(0, one.size)).hexdigest() for one in blobs]
    await library.loaded(model)
    library.rest()
    return found

async def adopted(body, model=None, sha256=""):
    try:
        return await library.adopt(body, model, sha256)
    except LocalLLMError as error:
        return f"{{type(error).__name__}}: {{error}}"

async def flipped(body, at):
    data = js.Uint8Array.new(await body.arrayBuffer())
    data.set(js.Uint8Array.of(data.at(at) ^ 4), at)
    return js.Blob.new(to_js([data]))

first = await loaded()
name, body = await library.export(model)
body = js.Blob.new(to_js([await body.arrayBuffer()]))  # saved by a person
freed = await library.delete(model)
bad = [await adopted(await flipped(body, at)) for at in (600, 200_000, body.size - 50_000)]  # list, first, second
bad += [await adopted(body.slice(0, body.size - 100_000)), await adopted(body, "https://example.invalid/other/")]
left = await kept(model)
bad += [await adopted(await flipped(body.slice(5120, 6144), 3), urls[0], "0" * 64)]
left += await kept(model) + await kept(urls[0])
address, here = await adopted(body), await kept(model)
bad += [await adopted(await flipped(body, at)) for at in (200_000, body.size - 50_000)]  # what is kept stays
again = await loaded()
bad += [await adopted(js.Blob.new(to_js([js.Uint8Array.new(9)])), urls[0], "0" * 64)]
[name, first, freed, bad, left, address, here, await kept(model), again, await adopted(body), await loaded()]
"""


def test_a_model_of_several_files_is_packed_into_one(tab, file, faulty):
    second = faulty.files["second.bin"] = Faulty(DATA[:300_001], faulty.url + "second.bin")
    model, urls = f"{faulty.url}folder/", [file.url, second.url]
    name, first, freed, bad, left, *address, again, once_more, last = python(tab, PACKED % (model, urls))
    assert [name, freed] == ["folder.tar", len(DATA) + 300_001]
    assert first == again == last == [file.sha256, second.sha256]
    assert all(text.startswith("CorruptModel: ") for text in bad), bad
    assert [left, address, once_more] == [[], [[model], [[freed, freed, True]], [[freed, freed, True]]], [model]]
    assert file.sent + second.sent == freed + 2


def test_notes_of_one_file_do_not_undo_each_other(tab, file):
    code = f"""{RIG}
url, found = {file.url!r}, []
await fetched(url, {file.sha256!r})
for n in range(8):
    [before] = [one.used_at for one in await library.kept() if one.model == url]
    await asyncio.sleep(0.002)
    await asyncio.gather(library.loaded(url), library.pin(url, n % 2 == 0))
    [one] = [one for one in await library.kept() if one.model == url]
    found.append([one.pinned == (n % 2 == 0), one.used_at > before, one.whole])
await library.delete(url)
found
"""
    assert python(tab, code) == [[True, True, True]] * 8
