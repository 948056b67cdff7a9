"""The browser's process is killed in the middle of a download, again and again: each time it goes on where it was."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, Page

from tests.browser.faults import Faulty, FaultyServer
from tests.browser.harness import ADAPTER, QUIET, boot, chromium_path, python
from tests.browser.test_gpu_crash import processes
from tests.browser.test_store import RIG, wait_for

CHUNK = 4 << 20  # as long as those of people's downloads
LOST = 1 << 20  # bytes: what comes on one connection in some 0.8 seconds
LANES = 3  # requests at a time
START = """{}
import js
library = Library(patience, 4 << 20)
js.fetching = asyncio.ensure_future(fetched({!r}))
None"""


@pytest.fixture
def file():
    """A file that arrives slowly."""
    with FaultyServer() as server:
        server.files["model.bin"] = Faulty(
            random.Random(7).randbytes(10 * CHUNK + 5), f"{server.url}model.bin", pace=0.05
        )
        yield server.files["model.bin"]


def start(playwright, profile: Path) -> tuple[BrowserContext, int]:
    """Chromium with this profile, and its own process's id."""
    context = playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium_path(), headless=True, args=["--headless=new", *QUIET, *ADAPTER]
    )
    own = f"--user-data-dir={profile} "
    found = {pid: parent for pid, parent, words in processes() if own in f"{words} " and "--type=" not in words}
    [pid] = [pid for pid, parent in found.items() if parent not in found]  # a fresh child has its parent's words
    return context, pid


def test_a_download_survives_the_death_of_its_browser(playwright, server, file, tmp_path, request):
    times = 10 if request.config.getoption("--soak") else 2
    dice = random.Random(request.node.name)
    held, sent, seen = [], [], 0
    for left in range(times, -1, -1):
        context, pid = start(playwright, tmp_path / "profile")
        page = context.new_page()
        boot(page, server.url)
        held.append(_kept(page, file))
        sent.append(file.sent)
        assert held[-1] >= seen, "what was kept stays"
        python(page, START.format(RIG, file.url))
        if not left:
            file.pace = 0.0
            assert python(page, "import js\nawait js.fetching") == file.sha256
            context.close()
            break
        goal = file.sent + dice.randrange(500_000, CHUNK)
        wait_for(lambda goal=goal: file.sent > goal)
        while True:
            came, seen = file.sent - sent[-1], _kept(page, file)
            if came - (seen - held[-1]) < 0.8 * LANES * LOST:  # else the machine was busy with something else
                break
            assert came < 0.8 * LANES * CHUNK, "parts are kept before their chunks are whole"
        time.sleep(dice.random() / 10)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: _ended(pid))
        try:
            context.close()
        except Error:  # it is gone
            continue
    size = len(file.data)
    print(f"{times} kills: kept {held} bytes, sent {file.sent} of {size}")
    assert held[-1] > 0
    assert all(
        there >= came - number * LANES * LOST for number, (there, came) in enumerate(zip(held, sent, strict=True))
    )
    assert file.sent <= size + times * LANES * LOST


def _kept(page: Page, file: Faulty) -> int:
    """Bytes of it that are kept."""
    found = python(page, f"{RIG}\nawait kept({file.url!r})")
    return found[0][0] if found else 0


def _ended(pid: int) -> bool:
    """Whether it is gone, or only its parent has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # gone; a file that was open already tells so, too
        return True
