"""Our page beside wllama and transformers.js: one Chromium, one page, the same prompts, taking turns; ratios and JSON.

    python3 build.py bench --suite peers --engines ours,wllama-cpu,transformers-wasm

Knows the other engines by the files that assets.json's group `peers` brings, and bench/peers.html by the JSON it shows.
With --folder it only makes the folder that a machine without a network can serve.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import make_onnx
from bench.page import commit, keep, median, shown_by
from tools import assets
from tools.chromium import ADAPTERS, has_gpu
from tools.demo import Spec, open_page
from tools.serve import Handler, serving
from tools.shell import CACHE, ROOT, Failure, say

ENGINES = ("ours", "wllama-cpu", "wllama-webgpu", "transformers-wasm", "transformers-webgpu")
MEASURES = ("decode_tokens_per_second", "prefill_tokens_per_second", "time_to_first_token_s")


def assemble(folder: Path, model: Path, dtypes: Sequence[str]) -> Path:
    """The built site, the page, the other engines and the model, also as ONNX of these dtypes, under `folder`."""
    shutil.copytree(ROOT / "dist", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("local-llm.html"))
    shutil.copy(ROOT / "bench" / "peers.html", folder)
    shutil.copytree(assets.FOLDER / "peers", folder / "peers", dirs_exist_ok=True)
    (folder / "peers" / "words.json").write_text(json.dumps(words(model)), encoding="utf-8")
    for dtype in dtypes:
        say(f"  making ONNX ({dtype}) of {model.name} …")
        make_onnx.write(model, folder / "models" / model.stem, dtype)
    return folder


def words(model: Path) -> list[tuple[int, str]]:
    """(id, text) of tokens that are whole words, or names: joined, their texts become the same tokens again."""
    import gguf

    found = gguf.GGUFReader(model).get_field("tokenizer.ggml.tokens")
    listed = enumerate(found.contents()[:8000] if found else [])
    whole = [(token, text.replace("Ġ", " ")) for token, text in listed if re.fullmatch(r"Ġ[a-z]+|<\d+>", text)]
    if len(whole) < 100:
        raise Failure(f"{model.name} has no words among its first tokens; peers wants a vocabulary as SmolLM2's.")
    return whole[:1000]


@contextmanager
def isolated() -> Iterator[None]:
    """Pages served meanwhile may use threads: WebAssembly's need these headers."""
    plain: Callable[[Handler], None] = Handler.end_headers

    def end_headers(self: Handler) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        plain(self)

    Handler.end_headers = end_headers
    try:
        yield
    finally:
        Handler.end_headers = plain


def medians(engine: Mapping[str, Any]) -> dict[str, float]:
    """Of each measure over the runs after the one that warms up; empty where the engine failed."""
    runs = [] if "failed" in engine else engine["runs"]
    return {name: median([run[name] for run in runs]) for name in MEASURES} if runs else {}


def table(engines: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a row an engine; ratios above 1 say that we are faster than it."""
    rows = [
        "| engine | decode, tok/s | prefill, tok/s | first token, ms | ours ÷ it: decode | prefill |",
        "|---|---|---|---|---|---|",
    ]
    ours = medians(engines.get("ours", {"failed": "not asked for"}))
    for name, engine in engines.items():
        found = medians(engine)
        if not found:
            rows.append(f"| {name} | did not run: {' '.join(engine['failed'].split())[:160]} | | | | |")
            continue
        decode, prefill, first = (found[measure] for measure in MEASURES)
        ratios = ["–", "–"]
        if ours and name != "ours":
            ratios = [f"{ours[measure] / found[measure]:.2f}" if found[measure] else "–" for measure in MEASURES[:2]]
        rows.append(f"| {name} | {decode:.1f} | {prefill:.0f} | {1000 * first:.0f} | {' | '.join(ratios)} |")
    return "\n".join(rows)


def read_arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="build.py bench --suite peers", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--model", type=Path, required=True, help="a GGUF file of architecture llama")
    p.add_argument("--engines", default="ours,wllama-cpu,transformers-wasm", help=f"of {', '.join(ENGINES)}")
    p.add_argument("--dtype", choices=("q4", "q4f16"), default="q4", help="of the ONNX; q4f16 needs shader-f16")
    p.add_argument("--prompt", type=int, help="tokens; default: 512, 48 without a GPU")
    p.add_argument("--new", type=int, help="tokens; default: 192, 24 without a GPU")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--threads", type=int, help="of the engines on the CPU; default: what each takes by itself")
    p.add_argument("--adapter", choices=ADAPTERS)
    p.add_argument("--out", type=Path, default=CACHE / "bench", help="folder for the JSON and the table")
    p.add_argument("--folder", type=Path, help="only make this folder, without the model's own file")
    arguments = p.parse_args()
    unknown = set(arguments.engines.split(",")) - set(ENGINES)
    if unknown:
        raise Failure(f"--engines wants some of {', '.join(ENGINES)}; got {', '.join(sorted(unknown))}.")
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the page says, and the browser. Raises Failure with the page's own words."""
    model: Path = arguments.model
    software = arguments.adapter == "swiftshader" or not has_gpu()
    asked, new = arguments.prompt or (48 if software else 512), arguments.new or (24 if software else 192)
    about = {"engines": arguments.engines, "model": model.name, "onnx": model.stem, "dtype": arguments.dtype}
    threads = {"threads": arguments.threads} if arguments.threads else {}
    query = urlencode({**about, **threads, "prompt": asked, "new": new, "runs": arguments.runs})
    spec = Spec(str(folder), str(model), os.environ["CHROMIUM"], arguments.adapter)
    with isolated(), serving(folder, {model.name: model}) as base, open_page(spec) as page:
        result = shown_by(page, f"{base}/peers.html?{query}", arguments.engines)
        return {"browser": f"Chromium {page.context.browser.version}", **result}


def main() -> None:
    arguments = read_arguments()
    needs_onnx = "transformers" in arguments.engines
    if arguments.folder:
        assemble(arguments.folder, arguments.model, [arguments.dtype] if needs_onnx else [])
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="peers-") as name:
        folder = assemble(Path(name), arguments.model, [arguments.dtype] if needs_onnx else [])
        result = measure(arguments, folder)
    now = datetime.now(UTC)
    facts = {"date": now.isoformat(timespec="seconds"), "commit": commit(), "model": arguments.model.name, **result}
    heading = f"peers: {facts['model']}, {facts['browser']}, {result['cores']} cores, commit {facts['commit']}; "
    heading += f"{result['prompt_tokens']} prompt tokens, {result['new_tokens']} new"
    text = f"{heading}\n\n{table(result['engines'])}\n"
    keep(arguments.out / f"peers-{now:%Y%m%d-%H%M%S}", facts, text)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say(f"error: {failure}")
        raise SystemExit(1) from None
