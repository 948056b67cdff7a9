"""The performance monitor: percentiles, counters, and memory warnings that say what they rest on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm.performance import BUDGET, KEPT, REFUSAL, PerformanceMonitor, percentile


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_percentile_is_numpys(samples, share):
    assert percentile(sorted(samples), share) == pytest.approx(np.quantile(samples, share), rel=1e-9, abs=1e-6)


def test_no_samples():
    summary = PerformanceMonitor().summary("load_seconds")
    assert (summary.count, summary.p50, summary.last) == (0, None, None)
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_summary_and_report():
    monitor = PerformanceMonitor()
    for value in range(1, 101):
        monitor.add("decode_tokens_per_second", value)
    monitor.add("decode_tokens_per_second", None)
    monitor.count("loads")
    monitor.count("prompt_tokens", 12)
    summary = monitor.summary("decode_tokens_per_second")
    assert (summary.count, summary.last, summary.mean, summary.p50) == (100, 100, 50.5, 50.5)
    assert summary.p90 == pytest.approx(90.1)
    report = json.loads(json.dumps(monitor.report()))
    assert report["counters"] == {"loads": 1, "prompt_tokens": 12}
    assert report["decode_tokens_per_second"]["p99"] == pytest.approx(99.01)
    assert report["gpu_limit"] is None


def test_old_samples_no_longer_count():
    monitor = PerformanceMonitor()
    for value in [1000.0, *[1.0] * KEPT]:
        monitor.add("load_seconds", value)
    summary = monitor.summary("load_seconds")
    assert (summary.count, summary.p99) == (KEPT + 1, 1.0)
    assert len(monitor.speeds()) == 0


def test_an_unknown_measure_is_a_defect():
    with pytest.raises(KeyError):
        PerformanceMonitor().add("speed", 1.0)


def test_no_limit_no_warning():
    assert PerformanceMonitor().warning(1 << 40) is None


def test_a_budget_warns_from_nine_tenths():
    monitor = PerformanceMonitor()
    monitor.set_budget(1000)
    assert monitor.warning(899) is None
    warning = monitor.warning(900)
    assert warning is not None
    assert (warning["limit_bytes"], warning["share"], warning["limit_source"]) == (1000, 0.9, BUDGET)
    assert BUDGET in warning["message"]
    assert warning["remedy"]
    monitor.set_budget(None)
    assert monitor.warning(10_000) is None


def test_a_refusal_is_a_limit_and_the_tightest_counts():
    monitor = PerformanceMonitor()
    monitor.refused(0)
    assert monitor.limit is None
    monitor.refused(5000)
    monitor.refused(4000)
    monitor.refused(6000)
    assert monitor.limit is not None
    assert (monitor.limit.nbytes, monitor.limit.source) == (4000, REFUSAL)
    monitor.set_budget(3000)
    assert monitor.limit.source == BUDGET
