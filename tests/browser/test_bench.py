"""bench.html measures a model, and what the page's main thread bore meanwhile."""

from __future__ import annotations

import json

from tests.browser.stage import serve_models

BUSY = """
let fresh = false;
addEventListener('local-llm:generation-start', () => { fresh = true; });
addEventListener('local-llm:token', () => {
  const until = performance.now() + 120;
  while (fresh && performance.now() < until);
  fresh = false;
});
"""


def test_speed_and_the_main_threads_burden_are_reported(blank, server, tmp_path):
    serve_models(server, tmp_path)
    blank.add_init_script(BUSY)  # one long task in each generation
    blank.goto(f"{server.url}bench.html?model=tiny/tiny.gguf&prompt=20&new=60&runs=2")
    blank.wait_for_function("() => document.querySelector('#result').textContent", timeout=120_000)
    result = json.loads(blank.locator("#result").text_content() or "")
    assert "error" not in result, result
    assert [run["completionTokens"] for run in result["measured"]["runs"]] == [60, 60]
    thread = result["main_thread"]
    assert thread["generations"] == 2
    assert 0.24 <= thread["seconds"] < 60
    assert thread["frames"] > 0
    assert thread["long_tasks"] >= 2
    assert thread["longest_task_ms"] >= 120
    assert 4 < thread["frame_gap_p50_ms"] <= thread["frame_gap_p99_ms"] <= thread["frame_gap_max_ms"]
    assert thread["frame_gap_max_ms"] >= 120
    shown = dict(row.split("\t") for row in blank.locator("#table").inner_text().splitlines())
    assert shown["Main-thread tasks over 50 ms"].startswith(f"{thread['long_tasks']} (longest ")
    assert "swiftshader" in shown["Adapter"]
    assert len(shown["Gap between frames, ms: median, 99 %, longest"].split(", ")) == 3
