"""The bench's suites and its table; that bench.html measures is tested in tests/browser/test_bench.py."""

import pytest

from bench.page import suite, table
from tools.shell import Failure


def test_every_suite_has_runs_and_a_cpu_gets_short_ones():
    for name in ("decode", "prefill", "load"):
        tokens = [sum(run.query["prompt"] for run in suite(name, software)) for software in (True, False)]
        assert 0 < tokens[0] <= tokens[1]
    with pytest.raises(Failure, match="no suite 'kernels'"):
        suite("kernels", True)


def test_the_table_has_a_row_for_each_run():
    measured = {
        "runs": [{"timeToFirstTokenS": seconds} for seconds in (0.3, 0.1, 0.2)],
        "decodeTokensPerSecond": 1000.04,
        "prefillTokensPerSecond": 20000.4,
        "newTokens": 192,
    }
    shown = {"measured": measured, "main_thread": {"frame_gap_p99_ms": 17.54, "long_tasks": 0}, "load_seconds": 1.234}
    lines = table({"greedy": shown, "prefill": shown | {"measured": measured | {"newTokens": 1}}}).splitlines()
    assert lines[2] == "| greedy | 1000.0 | 20000 | 200.0 | 1.23 | 17.5 | 0 |"
    assert lines[3].startswith("| prefill | – | 20000 |")
    assert len({line.count("|") for line in lines}) == 1
