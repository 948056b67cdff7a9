"""Suites of measurements in the built page, in a real Chromium: JSON of every run, and a Markdown table.

    python3 build.py bench --suite decode --model FILE.gguf

Knows bench.html by its address and by the JSON it shows. Nothing is asserted; docs/log.md keeps what was learned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tools.chromium import ADAPTERS, has_gpu
from tools.demo import Spec, open_page
from tools.serve import serving
from tools.shell import CACHE, ROOT, Failure, say

SUITES = ("decode", "prefill", "load", "latency")
_PATIENCE_MS = 1_800_000


@dataclass(frozen=True)
class Run:
    """One address of bench.html: a name for the table, and what stands behind the question mark."""

    name: str
    query: Mapping[str, float | str]


def suite(name: str, software: bool, cache_bits: int = 16) -> list[Run]:
    """The runs of a suite; a CPU adapter gets short ones."""
    prompt, new, runs = (48, 24, 2) if software else (512, 192, 3)
    sampled = {"temperature": 0.8, "topk": 40, "topp": 0.95}
    usual = {"prompt": prompt, "new": new, "runs": runs, "profile": 0, "cachebits": cache_bits}
    match name:
        case "decode":
            positions = [] if software else [100, 1000, 2000, 3800]
            return [
                Run("greedy", {**usual, "profile": 1}),
                Run("greedy, with drafts", {**usual, "speculative": "auto"}),
                Run("sampled", {**usual, **sampled}),
                *(Run(f"at position {at}", {**usual, "prompt": at}) for at in positions),
            ]
        case "prefill":
            lengths = [16, 64] if software else [64, 128, 512, 2048]
            return [Run(f"{length} tokens", {**usual, "prompt": length, "new": 1}) for length in lengths]
        case "load":
            return [Run(f"visit {visit}", {**usual, "prompt": 8, "new": 1, "runs": 1}) for visit in (1, 2, 3)]
        case "latency":
            prefix = 128 if software else 2000
            return [Run(f"behind {prefix} cached tokens", {**usual, "prefix": prefix})]
    raise Failure(f"There is no suite {name!r} of the page; there are {', '.join(SUITES)}.")


def measure(page: Any, base: str, model: Path, runs: list[Run]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What bench.html shows for each run. Raises Failure with the page's own words."""
    for run in runs:
        say(f"  {run.name} …")
        query = urlencode({"model": f"{base}/models/{quote(model.name)}", **run.query})
        yield run.name, shown_by(page, f"{base}/bench.html?{query}", run.name)


def shown_by(page: Any, url: str, name: str) -> dict[str, Any]:
    """The JSON that the page at `url` shows in the end. Raises Failure with the page's own words."""
    from playwright.sync_api import Error

    try:
        page.goto(url, timeout=120_000)
        page.wait_for_function("() => document.querySelector('#result').textContent", timeout=_PATIENCE_MS)
        shown = json.loads(page.text_content("#result"))
    except Error as error:
        raise Failure(f"The page failed in '{name}' ({str(error).splitlines()[0]}).") from None
    if "error" in shown:
        raise Failure(f"The page said in '{name}': {shown['error']}")
    return shown


def median(values: Sequence[float]) -> float:
    """The middle one, the upper of two."""
    return sorted(values)[len(values) // 2]


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, one row a run: medians of all runs after the one that warms up."""
    rows = [
        "| run | decode, tok/s | prefill, tok/s | first token, ms | load, s | frame gap, 99 %, ms | tasks > 50 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, shown in results.items():
        measured, thread = shown["measured"], shown["main_thread"]
        first = median([run["timeToFirstTokenS"] for run in measured["runs"]])
        cells = (
            name,
            f"{measured['decodeTokensPerSecond']:.1f}" if measured["newTokens"] > 1 else "–",
            f"{measured['prefillTokensPerSecond']:.0f}",
            f"{1000 * first:.1f}",
            f"{shown['load_seconds']:.2f}",
            f"{thread['frame_gap_p99_ms']:.1f}",
            str(thread["long_tasks"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def notes(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: what only some runs measure, a line each."""
    lines = []
    for name, shown in results.items():
        measured, load = shown["measured"], shown.get("load", {})
        python, recording = measured["pythonMsPerToken"], measured["recordingMsPerToken"]
        lines.append(
            f"* {name}: {python:.3f} ms of Python a token on the main thread, {recording:.3f} of them in WebGPU's calls"
        )
        lines += [f"* {name}: {text}" for text in (_step(measured), _behind(measured), _loading(load)) if text]
    return "\n".join(lines)


def _step(measured: Mapping[str, Any]) -> str:
    step = measured.get("step")
    if not step or "missing" in step:
        return step["missing"] if step else ""
    kernels = ", ".join(f"{one['name']} {1e6 * one['seconds']:.0f} × {one['dispatches']}" for one in step["kernels"])
    rate, share = step["copyBytesPerSecond"] / 1e9, 100 * step["bandwidthShare"]
    text = f"a step at position {step['position']} takes {1e6 * step['seconds']:.0f} µs of GPU time in "
    text += f"{step['dispatches']} dispatches; decoding reads {share:.0f} % of the {rate:.0f} GB/s of a copy. "
    return f"{text}µs a token by kernel, in so many dispatches: {kernels}"


def _behind(measured: Mapping[str, Any]) -> str:
    found = measured.get("afterPrefix")
    if not found:
        return ""
    first, alone, step = median(found["timeToFirstTokenS"]), median(found["aloneS"]), found["stepS"]
    text = f"{found['newTokens']} tokens behind {found['prefixTokens']} cached ones: first token after "
    return f"{text}{1000 * first:.1f} ms; alone {1000 * alone:.1f} ms, and two steps of {1000 * step:.2f} ms"


def _loading(load: Mapping[str, Any]) -> str:
    if not load:
        return ""
    weights, pipelines = load["weights_seconds"], load["pipelines_seconds"]
    text = f"weights in {weights:.2f} s, {load['pipelines']} pipelines in {pipelines:.2f} s"
    if "storage_share" not in load:
        return f"{text}, nothing of it kept before"
    rates = [load[key] / 1e6 for key in ("weights_bytes_per_second", "storage_bytes_per_second")]
    return f"{text}; from storage at {rates[0]:.0f} of {rates[1]:.0f} MB/s, {100 * load['storage_share']:.0f} %"


def commit() -> str:
    """The checkout's commit, with a + where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def keep(stem: Path, facts: Mapping[str, Any], text: str) -> None:
    """Write STEM.json and STEM.md, and say so."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    say(f"  every run is in {stem.with_suffix('.json')}")


def main() -> None:
    p = argparse.ArgumentParser(prog="build.py bench", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--suite", choices=SUITES, default="decode")
    p.add_argument("--model", type=Path, required=True, help="a GGUF file")
    p.add_argument("--adapter", choices=ADAPTERS)
    p.add_argument("--cache-bits", type=int, choices=(16, 8), default=16, help="of each key and value")
    p.add_argument("--out", type=Path, default=CACHE / "bench", help="folder for the JSON and the table")
    arguments = p.parse_args()
    software = arguments.adapter == "swiftshader" or not has_gpu()
    spec = Spec(str(ROOT / "dist"), str(arguments.model), os.environ["CHROMIUM"], arguments.adapter)
    with serving(Path(spec.dist), {arguments.model.name: arguments.model}) as base, open_page(spec) as page:
        runs = suite(arguments.suite, software, arguments.cache_bits)
        results = dict(measure(page, base, arguments.model, runs))
        browser = page.context.browser.version
    adapter = next(iter(results.values()))["measured"]["adapter"]
    heading = f"{arguments.suite}: {arguments.model.name}, {adapter}, Chromium {browser}, commit {commit()}"
    text = f"{heading}\n\n{table(results)}\n\n{notes(results)}\n"
    now = datetime.now(UTC)
    facts = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "browser": f"Chromium {browser}",
        "adapter": adapter,
        "model": arguments.model.name,
        "model_bytes": arguments.model.stat().st_size,
        "suite": arguments.suite,
        "cache_bits": arguments.cache_bits,
        "results": results,
    }
    keep(arguments.out / f"{arguments.suite}-{now:%Y%m%d-%H%M%S}", facts, text)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say(f"error: {failure}")
        raise SystemExit(1) from None
