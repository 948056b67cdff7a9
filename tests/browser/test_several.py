"""Models of several files in the browser's storage: files that are not there, room for all, all deleted or none."""

from __future__ import annotations

import pytest

from tests.browser.faults import Faulty
from tests.browser.harness import python
from tests.browser.test_store import DATA, RIG, faulty, file, tab

__all__ = ["faulty", "file", "tab"]  # fixtures

SEVERAL = f"""{RIG}
model, first, second, gone = %r
open_ = library.opener(model)
async def said(work):
    try:
        return await work
    except LocalLLMError as error:
        return [type(error).__name__, getattr(error, "absent", None), getattr(error, "missing", None)]

async def read(url):
    blobs = await open_(url)
    return len(await blobs.read(0, blobs.size))
"""


@pytest.fixture
def folder(file, faulty):
    """A model of two files, and a third one that is not there: [its address, theirs]; and the third."""
    name = file.url.rpartition("/")[2]
    second = faulty.files[f"{name}.2"] = Faulty(DATA[:300_001], f"{faulty.url}{name}.2")
    gone = faulty.files[f"{name}.3"] = Faulty(b"", f"{faulty.url}{name}.3", refused=404)
    return (f"{file.url}/", file.url, second.url, gone.url), gone


def test_a_file_that_is_not_there_is_not_asked_for_again(tab, folder):
    urls, gone = folder
    load = "[await read(first), await said(open_(gone)), await library.loaded(model), library.rest()][:2]"
    absent, unknown = ["DownloadFailed", True, None], ["DownloadFailed", False, None]
    assert python(tab, SEVERAL % (urls,) + load) == [len(DATA), absent]
    asked = len(gone.asked)
    gone.refused = 503
    assert python(tab, SEVERAL % (urls,) + load) == [len(DATA), absent]
    assert len(gone.asked) == asked
    code = f"[await library.delete(model), {load}]"
    assert python(tab, SEVERAL % (urls,) + code) == [len(DATA), [len(DATA), unknown]]
    assert len(gone.asked) > asked


def test_a_refusal_that_this_page_may_not_read_is_one(tab, folder):
    """The browser tells it like a broken connection."""
    urls, gone = folder
    gone.hidden = True
    assert python(tab, SEVERAL % (urls,) + "await said(open_(gone))") == ["DownloadFailed", True, None]
    code = "await said(open_('http://127.0.0.1:9/nobody.bin'))"
    assert python(tab, SEVERAL % (urls,) + code) == ["DownloadFailed", False, None]


def test_a_model_in_use_keeps_all_its_files(tab, folder):
    code = """
await read(first), await read(second), await library.loaded(model)
library.rest()
await read(second)
held = library._using[second].chunks
in_memory = [len(held._recent), held._spare]
await library.loaded(model)
[in_memory[0] > 0, len(held._recent), len(held._spare), await said(library.delete(model)), library.rest(),
 await library.delete(model)]
"""
    found = python(tab, SEVERAL % (folder[0],) + code)
    assert found == [True, 0, 0, ["Busy", None, None], None, len(DATA) + 300_001]


def test_room_is_wanted_for_all_files_of_a_model(tab, folder):
    code = """
async def room():
    return {"quota_bytes": 10_000_000, "used_bytes": 8_800_000}

library.room = room
first_alone = await open_(first)
both = await said(open_(second))
library.rest()
open_ = library.opener(model, None, 1_300_004)
announced = await said(open_(first))
library.rest()
[both, announced, await kept(model)]
"""
    urls, _ = folder
    both, announced, left = python(tab, SEVERAL % (urls,) + code)
    assert both == announced == ["StorageFull", None, 100_004]
    assert [one for one in left if one[0]] == []
