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

_PATIENCE_MS = 1_800_000


@dataclass(frozen=True)
class Run:
    """One address of bench.html: a name for the table, and what stands behind the question mark."""

    name: str
    query: Mapping[str, float]


def suite(name: str, software: bool) -> list[Run]:
    """The runs of a suite; a CPU adapter gets short ones."""
    prompt, new, runs = (48, 24, 2) if software else (512, 192, 3)
    sampled = {"temperature": 0.8, "topk": 40, "topp": 0.95}
    usual = {"prompt": prompt, "new": new, "runs": runs}
    match name:
        case "decode":
            positions = [] if software else [100, 1000, 2000, 3800]
            return [
                Run("greedy", usual),
                Run("sampled", {**usual, **sampled}),
                *(Run(f"at position {at}", {**usual, "prompt": at}) for at in positions),
            ]
        case "prefill":
            lengths = [16, 64] if software else [64, 128, 512, 2048]
            return [Run(f"{length} tokens", {"prompt": length, "new": 1, "runs": runs}) for length in lengths]
        case "load":
            return [Run(f"visit {visit}", {"prompt": 8, "new": 1, "runs": 1}) for visit in (1, 2, 3)]
    raise Failure(f"There is no suite {name!r} of the page; there are decode, prefill and load.")


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


def commit() -> str:
    """The checkout's commit, with a + where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def main() -> None:
    p = argparse.ArgumentParser(prog="build.py bench", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--suite", choices=("decode", "prefill", "load"), default="decode")
    p.add_argument("--model", type=Path, required=True, help="a GGUF file")
    p.add_argument("--adapter", choices=ADAPTERS)
    p.add_argument("--out", type=Path, default=CACHE / "bench", help="folder for the JSON and the table")
    arguments = p.parse_args()
    software = arguments.adapter == "swiftshader" or not has_gpu()
    spec = Spec(str(ROOT / "dist"), str(arguments.model), os.environ["CHROMIUM"], arguments.adapter)
    with serving(Path(spec.dist), {arguments.model.name: arguments.model}) as base, open_page(spec) as page:
        results = dict(measure(page, base, arguments.model, suite(arguments.suite, software)))
        browser = page.context.browser.version
    adapter = next(iter(results.values()))["measured"]["adapter"]
    heading = f"{arguments.suite}: {arguments.model.name}, {adapter}, Chromium {browser}, commit {commit()}"
    text = f"{heading}\n\n{table(results)}\n"
    now = datetime.now(UTC)
    facts = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "browser": f"Chromium {browser}",
        "adapter": adapter,
        "model": arguments.model.name,
        "model_bytes": arguments.model.stat().st_size,
        "suite": arguments.suite,
        "results": results,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{arguments.suite}-{now:%Y%m%d-%H%M%S}"
    stem.with_suffix(".json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    say(f"  every run is in {stem.with_suffix('.json')}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say(f"error: {failure}")
        raise SystemExit(1) from None
