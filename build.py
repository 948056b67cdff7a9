#!/usr/bin/env python3
"""The one door to this project: demo, serve, build, check, test, bench. Needs Python 3.11+ and Node, makes the rest.

What it makes lies in .venv/, .cache/ and dist/; remove them to start afresh.
"""

import sys

if sys.version_info < (3, 11):  # before anything that older Pythons cannot import
    raise SystemExit(
        f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Run build.py with a newer one."
    )

import argparse
import json
import math
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools import assets, chromium, environment, serve, site
from tools.shell import ROOT, Failure, only_one, say

DEFAULT_MODEL = assets.FOLDER / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_PROMPT = "Why is the sky blue?"
SUITES = ("decode", "prefill", "load", "latency", "kernels", "peers")
# What only computes may share the processor; what watches a page's clock runs alone.
COMPUTING = ("tests/browser/test_kernels.py", "tests/browser/test_formats.py")
SIDE_BY_SIDE = ("-n", str(min(os.cpu_count() or 1, 4)), "--dist", "worksteal")
TESTS = (
    (*COMPUTING, "tests/unit", "tests/kernels", "tests/model", *SIDE_BY_SIDE),
    ("tests/browser", "tests/stories", *(f"--ignore={name}" for name in COMPUTING)),
)
INTERRUPTED = 2  # pytest's status
# command-line name, name in the JavaScript face, type, smallest and largest value, help
OPTIONS = (
    ("max-tokens", "maxTokens", int, 1, math.inf, "stop after so many new tokens"),
    ("temperature", "temperature", float, 0, math.inf, "0 always takes the likeliest token"),
    ("top-k", "topK", int, 0, math.inf, "sample among so many likeliest tokens; 0: all"),
    ("top-p", "topP", float, 0, 1, "sample among the likeliest tokens of so much probability"),
    ("min-p", "minP", float, 0, 1, "drop tokens less likely than this share of the likeliest"),
    ("repetition-penalty", "repetitionPenalty", float, 0, math.inf, "above 1: repeat less"),
    ("seed", "seed", int, 0, 2**32 - 1, "same seed, same text"),
)


# What every command rests on


def set_up(groups: list[str], files: list[str], browser: bool = False) -> Path | None:
    """Python packages, downloaded files and the browser, at the same time; returns Chromium's path if asked for."""
    with only_one():
        if browser:
            chromium.find()  # a wrong $CHROMIUM is told before anything is fetched
        python = environment.create()
        with ThreadPoolExecutor(3) as pool:
            work = [pool.submit(environment.install, groups), pool.submit(assets.ensure, python, files)]
            found = pool.submit(chromium.ensure) if browser else None
            for task in [*work, *([found] if found else [])]:
                task.result()
    return found.result() if found else None


def build_site() -> Path:
    """dist/ from what lies here now."""
    with only_one():
        return site.build(environment.python_path())


def in_venv(*words: str | Path, env: dict[str, str] | None = None) -> int:
    """Run .venv's Python with the terminal's own input and output; its exit status."""
    command = [str(environment.python_path()), *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})})
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:  # the child hears Ctrl-C too and ends by itself
            continue
    if status < 0:
        raise Failure(f"{' '.join(map(str, words[:2]))} was ended by signal {-status} from outside. Run this again.")
    return status


# demo


def demo(arguments: argparse.Namespace) -> int:
    """Answer one prompt in a real Chromium page."""
    options = read_options(arguments)
    if arguments.raw and arguments.messages:
        raise Failure("--raw continues a plain PROMPT and --messages is a conversation. Leave one of them out.")
    messages = None if arguments.raw else read_messages(arguments)
    model = model_path(arguments.model)
    files = ["site"] if arguments.model else ["site", "model"]
    browser = set_up(["build", "demo"], files, browser=True)
    fields: dict[str, Any] = {
        "dist": str(build_site()),
        "model": str(model),
        "chromium": str(browser),
        "adapter": arguments.adapter,
        "messages": messages,
        "prompt": arguments.prompt or DEFAULT_PROMPT,
        "options": options,
        "json": arguments.json,
        "headed": arguments.headed,
        "keep_open": arguments.keep_open,
    }
    return in_venv("-m", "tools.demo", json.dumps(fields))


def read_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The generation options given, by their JavaScript names. Raises Failure where one is out of range."""
    found: dict[str, Any] = {}
    for flag, name, kind, low, high, _ in OPTIONS:
        text = getattr(arguments, flag.replace("-", "_"))
        if text is None:
            continue
        wanted = (
            f"{'a whole number' if kind is int else 'a number'} from {low} {'up' if high == math.inf else f'to {high}'}"
        )
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise Failure(f"--{flag} wants {wanted}; got {text}. Give another value, or leave it out.")
        found[name] = value
    return found


def read_messages(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The conversation: a file's, the prompt after a file's, or the prompt alone. Raises Failure."""
    asked = [{"role": "user", "content": arguments.prompt or DEFAULT_PROMPT}]
    if arguments.messages is None:
        return asked
    path = Path(arguments.messages)
    remedy = 'It must hold a JSON list such as [{"role": "user", "content": "Hello"}].'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"--messages {path} cannot be read ({error.strerror}). {remedy}") from None
    except ValueError as error:
        raise Failure(f"--messages {path} is not JSON in UTF-8 ({error}). {remedy}") from None
    good = (
        isinstance(found, list)
        and found
        and all(isinstance(one, dict) and {"role", "content"} <= set(one) for one in found)
    )
    if not good:
        raise Failure(f"--messages {path} is not a list of messages with role and content. {remedy}")
    return found + asked if arguments.prompt else found


def model_path(given: str | None) -> Path:
    """The model's file. Raises Failure where the file given is none."""
    if given is None:
        return DEFAULT_MODEL
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise Failure(f"--model wants a GGUF file; found {found} at {path}. Give the path of a .gguf file.")
    return path


# serve, build, check, test, bench


def serve_site(arguments: argparse.Namespace) -> int:
    """Serve the site on loopback until Ctrl-C."""
    extra = [model_path(name) for name in arguments.model]
    set_up(["build"], ["site", "model"])
    models = {path.name: path for path in [DEFAULT_MODEL, *extra]}
    server = serve.open_server(build_site(), models, arguments.port)
    print(f"{serve.address(server)}/", flush=True)
    say(f"  models: {', '.join(f'/models/{name}' for name in models)}\n  Ctrl-C ends it.")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
    return 0


def build(arguments: argparse.Namespace) -> int:
    """Build the wheel and the site."""
    set_up(["build"], ["site"])
    dist = build_site()
    print(f"{dist.relative_to(ROOT)}/ with {site.wheel_path().relative_to(ROOT)}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Format, lint, types, architecture: all of them, then the verdict."""
    set_up(["build", "dev", "test"], ["check"])
    return run_checks()


def run_checks() -> int:
    """Needs set_up of groups dev and test and of the files of group check."""
    python = environment.python_path()
    pyright = assets.FOLDER / "pyright" / "index.js"
    node = "node"
    commands = {
        "format": [python, "-m", "ruff", "format", "--check", "."],
        "lint": [python, "-m", "ruff", "check", "."],
        "types": [node, pyright, "--pythonpath", python],
        "architecture": [python, "-m", "pytest", "-q", "tests/unit/test_architecture.py"],
    }
    failed = []
    for name, command in commands.items():
        say(f"check: {name}")
        try:
            status = subprocess.run([str(word) for word in command], cwd=ROOT).returncode
        except OSError as error:
            raise Failure(f"{command[0]} does not start ({error.strerror}). Install Node.js.") from None
        failed += [name] if status else []
    say(f"check: failed: {', '.join(failed)}" if failed else "check: all good")
    return 1 if failed else 0


def test(arguments: argparse.Namespace) -> int:
    """Check, then all tests, against the built wheel and the built site."""
    groups = ["build", "demo", "dev", "test", *(["soak"] if "--soak" in arguments.rest else [])]
    browser = set_up(groups, ["site", "model", "tests", "check"], browser=True)
    build_site()
    environment.install_wheel(site.wheel_path())
    checked = run_checks()
    tested = 0
    for suite in [()] if set(arguments.rest) - {"--soak"} else TESTS:
        status = in_venv("-m", "pytest", *suite, *arguments.rest, env={"CHROMIUM": str(browser)})
        tested = tested or status
        if status == INTERRUPTED:
            break
    if checked:
        say("error: the tests ran, but check failed: see above.")
    return tested or checked


def bench(arguments: argparse.Namespace) -> int:
    """Measure the built page, or the kernels alone over Dawn."""
    if arguments.suite not in SUITES:
        raise Failure(f"bench wants --suite {', '.join(SUITES)}; got {arguments.suite}. Name one of them.")
    files = ["site", "model", *(["peers"] if arguments.suite == "peers" else [])]
    browser = set_up(["build", "demo", "test"], files, browser=True)
    build_site()
    environment.install_wheel(site.wheel_path())
    if arguments.suite == "kernels":
        return in_venv("-m", "bench.kernels", *arguments.rest)
    if arguments.suite == "peers":
        words = ["--model", model_path(arguments.model), *arguments.rest]
        return in_venv("-m", "bench.peers", *words, env={"CHROMIUM": str(browser)})
    words = ["--suite", arguments.suite, "--model", model_path(arguments.model), *arguments.rest]
    return in_venv("-m", "bench.page", *words, env={"CHROMIUM": str(browser)})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="build.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("demo", help="answer a prompt in a real Chromium page")
    one.add_argument("prompt", nargs="?", metavar="PROMPT", help=f"default: {DEFAULT_PROMPT}")
    one.add_argument("--json", action="store_true", help="print one JSON object instead")
    one.add_argument(
        "--messages", metavar="FILE.json", help="a whole conversation; PROMPT, if given, is its last message"
    )
    one.add_argument("--raw", action="store_true", help="continue PROMPT without the chat template")
    one.add_argument("--model", metavar="FILE.gguf", help="another model than the default")
    for flag, _, _, _, _, text in OPTIONS:
        one.add_argument(f"--{flag}", metavar="N", help=text)
    one.add_argument(
        "--adapter", choices=chromium.ADAPTERS, help="the GPU, or the CPU in its place; default: what is here"
    )
    one.add_argument("--headed", action="store_true", help="show the browser")
    one.add_argument("--keep-open", action="store_true", help="leave the page open until Ctrl-C")
    one.set_defaults(run=demo)
    one = commands.add_parser("serve", help="serve the site and the models on loopback")
    one.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    one.add_argument("--model", metavar="FILE.gguf", action="append", default=[], help="one more model under /models/")
    one.set_defaults(run=serve_site)
    commands.add_parser("build", help="build the wheel and the site dist/").set_defaults(run=build)
    commands.add_parser("check", help="format, lint, types, architecture").set_defaults(run=check)
    one = commands.add_parser("test", help="check, then all tests; further arguments go to pytest; --soak: long forms")
    one.set_defaults(run=test)
    one = commands.add_parser("bench", help="measure; further arguments: python -m bench.page|kernels|peers --help")
    one.add_argument("--suite", default="decode", metavar="SUITE", help=f"{', '.join(SUITES)}; default: decode")
    one.add_argument("--model", metavar="FILE.gguf", help="another than the default; kernels take --shape instead")
    one.set_defaults(run=bench)
    return top


def main(words: list[str] | None = None) -> int:
    """Parse, run, and turn every Failure into one sentence and status 1."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    if rest and arguments.run not in (test, bench):
        top.error(f"unknown arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        return arguments.run(arguments)
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
