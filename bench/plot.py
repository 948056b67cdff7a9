"""Draws the pictures of docs/performance.md from bench/results and prints its table: python -m bench.plot [FILE.json]

The limit of a model is the time that its dispatches and its bytes take at the least, both measured on that adapter.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.make_model import SHAPES, _bytes, tensors
from tools.shell import ROOT

RESULTS = ROOT / "bench" / "results" / "2026-11-28-h100.json"
BYTES_PER_SECOND = 3.1e12  # reading random data on an H100
DISPATCH_SECONDS = 2.0e-6  # a dependent dispatch that does next to nothing there, docs/log.md
WEBLLM = {  # tokens a second on an H100, the highest of those measured (WebLLM 0.2.86)
    "smollm2-135m": 84,
    "smollm2-360m": 81,
    "qwen2.5-0.5b": 73,
    "qwen3-0.6b": 54,
    "llama-3.2-1b": 134,
}
GOALS = {  # of issue 5: decode, prefill of 512 tokens; tokens a second
    "smollm2-135m": "1,500, 25,000",
    "qwen2.5-0.5b": "1,300, 15,000",
    "qwen3-0.6b": "1,000, 12,000",
    "llama-3.2-1b": "1,200, 10,000",
    "llama-3.2-3b": "600, 4,500",
    "llama-3.1-8b": "400, 2,000",
}
INK, PALE, OURS, LIMIT, THEIRS = "#1f2430", "#d9dde3", "#0b6e5f", "#b45309", "#6b7280"


def limit(name: str, run: Mapping[str, Any]) -> float:
    """Tokens a second that a run's dispatches and the model's bytes would allow."""
    shape = SHAPES[name]
    kinds = [each for each in tensors(shape, "Q4_0") if shape.tied or each[0] != "token_embd.weight"]
    nbytes = sum(_bytes(size, kind) for _, size, kind in kinds)
    dispatches = run.get("step", {}).get("dispatches", 5 * shape.layers + 4)  # older results do not tell
    return 1 / (nbytes / BYTES_PER_SECOND + dispatches * DISPATCH_SECONDS)


def text(x: float, y: float, words: str, anchor: str = "start", color: str = INK, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" font-size="{size}">{escape(words)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    )
    return head + "".join([text(20, 28, title, size=15), *parts]) + "</svg>\n"


def by_size(runs: dict[str, Any]) -> str:
    """Bars: measured, the limit as a mark, WebLLM's as a second bar."""
    left, top, row, scale = 150, 60, 46, 440 / 4000
    parts = [text(left, 50, "tokens a second: ours, limit, WebLLM 0.2.86", color=THEIRS)]
    for index, name in enumerate(SHAPES):
        if name not in runs:
            continue
        y = top + row * (index - 1)
        speed, most = runs[name]["decode_tokens_per_second"], limit(name, runs[name])
        parts += [
            text(left - 8, y + 17, name, "end"),
            f'<rect x="{left}" y="{y + 4}" width="{speed * scale:.1f}" height="16" fill="{OURS}"/>',
            line(left + most * scale, y, left + most * scale, y + 24, LIMIT, 3),
            text(left + max(speed, most) * scale + 8, y + 17, f"{speed:.0f} of {most:.0f}"),
        ]
        if name in WEBLLM:
            parts += [
                f'<rect x="{left}" y="{y + 22}" width="{WEBLLM[name] * scale:.1f}" height="8" fill="{THEIRS}"/>',
                text(left + WEBLLM[name] * scale + 8, y + 31, str(WEBLLM[name]), color=THEIRS, size=11),
            ]
    return svg(
        760, top + row * (len(SHAPES) - 1) + 10, "Decoding by model, NVIDIA H100 in Chromium, 4-bit weights", parts
    )


def by_position(runs: dict[str, Any]) -> str:
    """Lines: decode speed against the middle of the positions that a run decoded."""
    series: dict[str, list[tuple[float, float]]] = {}
    for name, run in runs.items():
        model, *rest = name.split(", ")
        if not rest or (len(rest) == 1 and rest[0].endswith(" prompt tokens")):
            at = run["prompt_tokens"] + run["new_tokens"] / 2
            series.setdefault(model, []).append((at, run["decode_tokens_per_second"]))
    left, top, width, height = 60, 60, 560, 300
    x = lambda at: left + width * at / 4000  # noqa: E731
    y = lambda speed: top + height * (1 - speed / 1800)  # noqa: E731
    parts = [part for speed in range(0, 1801, 300) for part in (line(left, y(speed), left + width, y(speed), PALE),)]
    parts += [text(left - 8, y(speed) + 4, str(speed), "end") for speed in range(0, 1801, 300)]
    parts += [text(x(at), top + height + 20, str(at), "middle") for at in range(0, 4001, 1000)]
    parts.append(text(left + width, top + height + 40, "position", "end", THEIRS))
    ends: list[tuple[float, str]] = []  # where lines end, for their names
    for model, points in series.items():
        if len(points) < 2:
            continue
        points.sort()
        path = " ".join(f"{x(at):.1f},{y(speed):.1f}" for at, speed in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(at):.1f}" cy="{y(speed):.1f}" r="3.5" fill="{OURS}"/>' for at, speed in points]
        most = limit(model, runs[model])
        if most < 1800:
            parts += [line(left, y(most), left + width, y(most), LIMIT, 1.5)]
            parts.append(text(left + width + 6, y(most) + 4, f"limit of {model}", color=LIMIT, size=11))
        ends.append((y(points[-1][1]), model))
    above = 0.0
    for end, model in sorted(ends):
        above = max(end - 2, above + 15)  # names of neighbours do not overlap
        parts.append(text(left + width + 6, above, model))
    parts.append(text(left, 50, "tokens a second; a limit is drawn where it fits", color=THEIRS))
    return svg(760, top + height + 55, "Decoding by position, NVIDIA H100 in Chromium", parts)


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a row a model; older results lack what a dash stands for."""
    rows = [
        "| model | decode, tok/s | prefill, tok/s | goal: decode, prefill | limit of decoding | first token, ms "
        "| GPU time, µs a token | dispatches | share of a copy's bytes/s | Python, ms a token |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SHAPES:
        if name in runs:
            rows.append(f"| {' | '.join(_cells(name, runs[name]))} |")
    return "\n".join(rows)


def _cells(name: str, run: Mapping[str, Any]) -> list[str]:
    step, first, python = (run.get(key) for key in ("step", "time_to_first_token_s", "python_ms_per_token"))
    known = step if step and "missing" not in step else None
    return [
        name,
        f"{run['decode_tokens_per_second']:,.0f}",
        f"{run['prefill_tokens_per_second']:,.0f}",
        GOALS.get(name, ""),
        f"{limit(name, run):,.0f}",
        f"{1000 * first:.1f}" if first else "–",
        f"{1e6 * known['seconds']:,.0f}" if known else "–",
        f"{known['dispatches']}" if known else "–",
        f"{100 * known['bandwidth_share']:.0f} %" if known else "–",
        f"{python:.3f}" if python is not None else "–",
    ]


def main() -> None:
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    runs = json.loads(results.read_text(encoding="utf-8"))["runs"]
    print(table(runs))
    for name, picture in (("size", by_size(runs)), ("position", by_position(runs))):
        (ROOT / "docs" / "images" / f"speed-by-{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
