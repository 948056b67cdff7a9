"""The browser's GPU process is killed in the middle of a stream: the stream completes, with the undisturbed text."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.harness import ADAPTER, boot, launch
from tests.browser.looks import GATE
from tests.browser.stage import serve_models

STORY = """async () => {
    await llm.init('tiny/tiny.gguf');
    const hi = [{ role: 'user', content: 'Hi' }];
    const options = { maxTokens: 150, temperature: 0, ignoreEos: true };
    const calm = (await llm.chat(hi, options)).text;
    const told = [];
    const hear = ({ type, detail }) => told.push([type.slice('local-llm:'.length), Boolean(detail.recovering)]);
    for (const name of ['loading', 'ready', 'error', 'generation-end']) addEventListener(`local-llm:${name}`, hear);
    let [last, struck] = [null, false];
    const hold = () => { gate = new Promise((go) => { globalThis.release = go; }); }; // the answer, until it is dead
    addEventListener('local-llm:token', hold, { once: true });
    for await (const chunk of await llm.chat(hi, { ...options, stream: true })) {
        if (!struck) {
            struck = true;
            await killGpuProcess();
            release();
        }
        last = chunk;
    }
    return { same: last.text === calm, reason: last.finishReason, told, isReady: llm.getStatus().isReady };
}"""


def processes() -> Iterator[tuple[int, int, str]]:
    """(id, parent's id, command line) of all that run now."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1]), words


def gpu_processes() -> set[int]:
    """Ids of Chromium's GPU processes among the descendants of this one."""
    running = list(processes())
    ours, known = {os.getpid()}, 0
    while len(ours) > known:
        known = len(ours)
        ours |= {pid for pid, parent, _ in running if parent in ours}
    return {pid for pid, _, words in running if pid in ours and "--type=gpu-process" in words}


@pytest.fixture
def others() -> set[int]:
    """GPU processes of this test run's other browsers."""
    return gpu_processes()


def test_a_stream_survives_the_gpu_process(others, playwright, server, tmp_path):
    serve_models(server, tmp_path)
    killed: list[int] = []

    def kill() -> None:
        for pid in gpu_processes() - others:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    browser = launch(playwright, ADAPTER)
    try:
        page = browser.new_page()
        page.expose_function("killGpuProcess", kill)
        page.add_init_script(GATE)
        boot(page, server.url)
        result = page.evaluate(STORY)
        now = gpu_processes() - others
    finally:
        browser.close()
    assert result == {
        "same": True,
        "reason": "length",
        "told": [["loading", True], ["ready", True], ["generation-end", False]],
        "isReady": True,
    }
    assert len(killed) == 1
    assert now, "Chromium has another GPU process"
    assert not now & set(killed)
