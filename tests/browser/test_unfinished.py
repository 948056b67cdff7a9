"""A chunk that is broken off halfway: what had arrived of it is kept, checked, and not fetched again."""

from __future__ import annotations

import random

import pytest

from tests.browser.faults import Faulty, FaultyServer
from tests.browser.harness import boot, python
from tests.browser.test_store import RIG

DATA = random.Random(8).randbytes(3_000_001)  # less than one chunk
WITHOUT_OPFS = "delete Object.getPrototypeOf(navigator.storage).getDirectory;"
HERE = f"""{RIG}
from local_llm.browser.library import _open_root
from local_llm.browser.records import file_of, folder_name

library = Library(patience, 4 << 20)

async def parts(url):
    file = await file_of(await _open_root(), folder_name(url))
    return [[*file.parts], [*file.done], len(file.chunks), file.nbytes]

async def parts_in_the_end(url):
    for _ in range(100):
        if not (found := await parts(url))[1]:
            break
        await asyncio.sleep(0.02)  # they are being removed
    return found
"""
BROKEN_OFF = """
import js

async def broken_off(url):
    reading = asyncio.ensure_future(fetched(url))
    while len((await parts(url))[0]) < 2 and not reading.done():
        await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.sleep(0.3)
    return await parts(url)
"""
DAMAGE = """
root = await _open_root()
folder = await root.folder(folder_name({url!r}))
data = await folder.read({name!r})
data.set(js.Uint8Array.new(1), 1000)
await folder.write({name!r}, data)
"""


@pytest.fixture(scope="module", params=["opfs", "indexeddb"])
def tab(browser, server, request):
    """A page with storage of its own, of each kind."""
    context = browser.new_context()
    page = context.new_page()
    if request.param == "indexeddb":
        page.add_init_script(WITHOUT_OPFS)
    boot(page, server.url)
    yield page
    context.close()


@pytest.fixture
def file():
    """A file of one chunk that comes slowly."""
    with FaultyServer() as server:
        server.files["model.bin"] = Faulty(DATA, f"{server.url}model.bin", pace=0.1)
        yield server.files["model.bin"]


def broken_off(tab, file):
    """Spans of the parts that are there then: [(start, stop)], and their names."""
    names, done, chunks, nbytes = python(tab, f"{HERE}{BROKEN_OFF}\nawait broken_off({file.url!r})")
    spans = [tuple(map(int, name.split("-")[0].split(".")[1:])) for name in names]
    assert len(spans) > 1
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert [done, chunks, nbytes] == [[], 0, spans[-1][1]]
    file.asked.clear()
    file.pace = 0.0
    return spans, names


def whole(tab, file):
    """Fetch all of it: the sha256 that came, and what lies there then."""
    code = f"{HERE}\n[await fetched({file.url!r}), await parts_in_the_end({file.url!r}), await kept({file.url!r})]"
    assert python(tab, code) == [file.sha256, [[], [], 1, len(DATA)], [[len(DATA), len(DATA), True]]]


def test_what_had_arrived_is_not_fetched_again(tab, file):
    spans, _ = broken_off(tab, file)
    whole(tab, file)
    assert file.asked == ["bytes=0-0", f"bytes={spans[-1][1]}-{len(DATA) - 1}"]


def test_a_damaged_part_does_not_count(tab, file):
    spans, names = broken_off(tab, file)
    python(tab, HERE + "import js\n" + DAMAGE.format(url=file.url, name=names[-1]))
    whole(tab, file)
    assert file.asked == ["bytes=0-0", f"bytes={spans[-1][0]}-{len(DATA) - 1}"]


def test_parts_of_another_version_are_not_mixed_in(tab, file):
    broken_off(tab, file)
    file.data, file.etag = DATA[::-1], '"2"'
    whole(tab, file)
    assert file.asked == ["bytes=0-0", f"bytes=0-{len(DATA) - 1}"]


REPLACED = f"""{HERE}
import asyncio
folder = await (await _open_root()).folder("replaced")
await folder.write("about.json", "0" * 1000)

seen = []

async def replace():
    n = 0
    while n < 60 or len(seen) < 40:  # as long as it is read
        n += 1
        await folder.write("about.json", str(n % 10) * 1000)

replacing = asyncio.ensure_future(replace())
while not replacing.done():
    data = await folder.read("about.json")
    seen.append(None if data is None else len(set(data.to_bytes())))
await (await _open_root()).remove("replaced")
[len(seen) >= 40, sorted(set(seen), key=str)]
"""


def test_what_is_replaced_while_it_is_read_is_there(tab):
    assert python(tab, REPLACED) == [True, [1]]


REPLACED_OFTEN = """
import js
from local_llm.browser.opfs import OpfsFolder

class Replaced:  # so often while it is read; a handle and its file
    left = TIMES

    async def getFileHandle(self, name):
        return self

    async def getFile(self):
        return self

    async def arrayBuffer(self):
        if self.left:
            self.left -= 1
            await js.Promise.reject(js.DOMException.new("It was replaced.", "NotReadableError"))
        return js.ArrayBuffer.new(3)

data = await OpfsFolder(Replaced(), "", None).read("about.json")
data and data.length
"""


@pytest.mark.parametrize(("times", "read"), [(0, 3), (40, 3), (1000, None)])
def test_a_file_may_be_replaced_often_but_reading_ends(page, times, read):
    assert python(page, REPLACED_OFTEN.replace("TIMES", str(times))) == read


WRITTEN_LATE = f"""{HERE}
from local_llm.browser import opfs

keep = opfs.OpfsFolder._keep

async def late(self, name, data):
    await asyncio.sleep(1)
    return await keep(self, name, data)

library = Library(patience, 1 << 18)
opfs.OpfsFolder._keep = late
blobs = await library.opener(URL)(URL)
read = await blobs.read(0, 1 << 18)
await asyncio.sleep(0.1)  # the keeping has begun
library.rest()
await asyncio.sleep(0)
opfs.OpfsFolder._keep = keep
"""
ALL_NAMES = f"""{HERE}
await asyncio.sleep(2)
folder = await (await _open_root()).folder(folder_name(URL))
[await fetched(URL), sorted(name[:6] for name in await folder.names() if name[0].isdigit()), await library.delete(URL)]
"""


def test_what_is_written_late_does_not_come_into_another_version(page, file):
    file.pace = 0.05
    python(page, WRITTEN_LATE.replace("URL", repr(file.url)))
    file.data, file.etag, file.pace = DATA[::-1], '"2"', 0.0
    asked = f"{HERE}\nlibrary = Library(patience, 1 << 18)\nawait fetched({file.url!r})"
    assert python(page, asked) == file.sha256
    numbers = [f"{number:06d}" for number in range(12)]
    assert python(page, ALL_NAMES.replace("URL", repr(file.url))) == [file.sha256, numbers, len(DATA)]


DELETED = f"""{HERE}
library = Library(patience, 4 << 20)
found = [await fetched(URL)]
files = [file for file in await library._files() if file.about and file.about.url == URL]
found += [await library.delete(URL)]
await library._note(files[0], pinned=True)
[*found, await kept(URL)]
"""


def test_a_note_of_what_was_deleted_does_not_bring_it_back(tab, file):
    file.pace = 0.0
    assert python(tab, DELETED.replace("URL", repr(file.url))) == [file.sha256, len(DATA), []]
