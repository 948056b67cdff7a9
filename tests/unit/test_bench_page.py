"""The bench's suites and its table; that bench.html measures is tested in tests/browser/test_bench.py."""

import pytest

from bench import plot
from bench.page import SUITES, notes, suite, table
from tools.shell import Failure


def test_every_suite_has_runs_and_a_cpu_gets_short_ones():
    for name in SUITES:
        tokens = [sum(int(run.query["prompt"]) for run in suite(name, software)) for software in (True, False)]
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


def test_the_notes_tell_what_only_some_runs_measure():
    step = {
        "position": 608,
        "dispatches": 154,
        "seconds": 850e-6,
        "copyBytesPerSecond": 3.9e12,
        "bandwidthShare": 0.031,
    }
    kernels = [
        {"name": "matvec q4_1", "dispatches": 60, "seconds": 300e-6},
        {"name": "pick", "dispatches": 1, "seconds": 3e-6},
    ]
    behind = {
        "prefixTokens": 2000,
        "newTokens": 16,
        "timeToFirstTokenS": [0.003, 0.002, 0.004],
        "aloneS": [0.002],
        "stepS": 8e-4,
    }
    load = {"weights_seconds": 0.5, "pipelines": 23, "pipelines_seconds": 1.25}
    kept = {"storage_share": 0.8, "weights_bytes_per_second": 8e8, "storage_bytes_per_second": 1e9}
    plain = {"pythonMsPerToken": 0.0823, "recordingMsPerToken": 0.0511, "step": None, "afterPrefix": None}
    lines = notes(
        {
            "greedy": {"measured": plain | {"step": step | {"kernels": kernels}}},
            "behind": {"measured": plain | {"afterPrefix": behind}},
            "visit 1": {"measured": plain | {"step": {"missing": "no timestamps"}}, "load": load},
            "visit 2": {"measured": plain, "load": load | kept},
        }
    ).splitlines()
    assert lines[0] == "* greedy: 0.082 ms of Python a token on the main thread, 0.051 of them in WebGPU's calls"
    assert "608 takes 850 µs of GPU time in 154 dispatches; decoding reads 3 % of the 3900 GB/s of a copy" in lines[1]
    assert lines[1].endswith("matvec q4_1 300 × 60, pick 3 × 1")
    assert lines[3].endswith("first token after 3.0 ms; alone 2.0 ms, and two steps of 0.80 ms")
    assert lines[5] == "* visit 1: no timestamps"
    assert lines[6] == "* visit 1: weights in 0.50 s, 23 pipelines in 1.25 s, nothing of it kept before"
    assert lines[8].endswith("from storage at 800 of 1000 MB/s, 80 %")


def test_the_documented_table_has_what_results_have():
    step = {"seconds": 850e-6, "dispatches": 154, "bandwidth_share": 0.031}
    old = {"decode_tokens_per_second": 1191.6, "prefill_tokens_per_second": 33123.4}
    new = old | {"step": step, "time_to_first_token_s": 0.0153, "python_ms_per_token": 0.0712}
    lines = plot.table({"llama-3.2-1b": old, "smollm2-135m": new, "smollm2-135m, sampled": new}).splitlines()
    assert len(lines) == 4
    limit = f"{plot.limit('smollm2-135m', new):,.0f}"
    assert plot.limit("smollm2-135m", {"step": step | {"dispatches": 124}}) > plot.limit("smollm2-135m", old)
    assert lines[2] == f"| smollm2-135m | 1,192 | 33,123 | 1,500, 25,000 | {limit} | 15.3 | 850 | 154 | 3 % | 0.071 |"
    assert lines[3].endswith("| – | – | – | – | – |")
    assert len({line.count("|") for line in lines}) == 1
