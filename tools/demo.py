"""Drives the built page in Chromium from a terminal: loads a model, streams one answer. Runs in .venv (Playwright).

`python -m tools.demo SPEC`, SPEC being the JSON of a `Spec`. It knows the page by its public JavaScript face only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tools import chromium
from tools.serve import serving
from tools.shell import CACHE, LOG, ROOT, Failure, say

_START_MS = 120_000
_SCRIPT = """
async ({ url, messages, prompt, options }) => {
  window.addEventListener("local-llm:progress", ({ detail }) => demoProgress(detail.progress ?? 0, detail.text ?? ""));
  try {
    const Local = await ModuleLoader.getModule("LocalLLM");
    await Local.init(url);
    const info = await Local.getRuntimeInfo();
    await demoReady(info.adapter, Boolean(info.softwareAdapter));
    const settings = { ...options, stream: true };
    const stream = await (messages ? Local.chat(messages, settings) : Local.complete(prompt, settings));
    const printed = [];
    let last = null;
    for await (const chunk of stream) {
      if (chunk.delta) printed.push(demoDelta(chunk.delta));
      last = chunk;
    }
    await Promise.all(printed);
    const { text, tokenIds, usage, timeToFirstToken, tokensPerSecond, model, finishReason } = last;
    return {
      text, token_ids: Array.from(tokenIds),
      prompt_tokens: usage.promptTokens, completion_tokens: usage.completionTokens,
      time_to_first_token_s: timeToFirstToken, tokens_per_second: tokensPerSecond,
      adapter: info.adapter, software_adapter: Boolean(info.softwareAdapter), model, finish_reason: finishReason,
    };
  } catch (error) {
    return { error: { name: String(error?.name ?? "Error"), message: String(error?.message ?? error) } };
  }
}
"""


@dataclass(frozen=True)
class Spec:
    """What build.py asks for. messages is None for a raw completion of prompt. options: the JavaScript face's names."""

    dist: str
    model: str
    chromium: str
    adapter: str | None = None
    messages: list[dict[str, Any]] | None = None
    prompt: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    json: bool = False
    headed: bool = False
    keep_open: bool = False
    port: int = 0


class Progress:
    """One line on stderr: redrawn on a terminal, a few lines where the output is kept."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = -1

    def show(self, share: float, text: str) -> None:
        """share: 0 to 1."""
        percent = round(100 * min(max(share, 0.0), 1.0))
        step = percent if self._live else percent // 25
        if step == self._shown and not self._live:
            return
        self._shown = step
        bar = "█" * (percent // 5) + "░" * (20 - percent // 5)
        print(
            f"\r  {bar} {percent:3} %  {text[:60]:60}" if self._live else f"  {percent:3} %  {text}",
            end="",
            file=sys.stderr,
        )
        print("" if self._live else "\n", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._live and self._shown >= 0:
            self._shown = -1
            print(f"\r{'':90}\r", end="", file=sys.stderr, flush=True)


@contextmanager
def open_page(spec: Spec) -> Iterator[Any]:
    """A page of a fresh Chromium; it is gone afterwards. Raises Failure where Chromium does not start."""
    from playwright.sync_api import Error, sync_playwright

    if (
        spec.headed
        and sys.platform.startswith("linux")
        and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    ):
        raise Failure(
            "--headed wants a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set. Leave --headed out here."
        )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(dir=CACHE, prefix="home-") as home:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        env: dict[str, str | float | bool] = {**os.environ, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}

        def launch(sandbox: bool) -> Any:
            return playwright.chromium.launch(
                executable_path=spec.chromium,
                headless=not spec.headed,
                args=chromium.switches(spec.adapter),
                chromium_sandbox=sandbox,
                env=env,
            )

        try:
            try:
                browser = launch(sandbox=not root)
            except Error:
                if root:
                    raise
                browser = launch(sandbox=False)
                say("  Chromium's own sandbox does not work for this user here; it runs without, on this page only.")
        except Error as error:
            raise Failure(
                f"Chromium at {spec.chromium} does not start ({_first_line(error)}). "
                "Try it by hand, or set CHROMIUM to another."
            ) from None
        try:
            yield browser.new_page()
        finally:
            with suppress(Exception):  # Ctrl-C may have ended it already
                browser.close()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _last_words(message: str) -> str:
    """The message; of a traceback, which is a defect and nothing for a person, its last line only."""
    lines = message.strip().splitlines()
    if not message.startswith("Traceback"):
        return message.strip()
    LOG.write_text(message, encoding="utf-8")
    return f"{lines[-1]}. This is a defect of local_llm; please report it (all it said: {LOG.relative_to(ROOT)})."


def answer(spec: Spec, page: Any, base: str) -> dict[str, Any]:
    """Load the model in the page and stream one answer to stdout; the result as --json prints it."""
    from playwright.sync_api import Error

    progress = Progress()

    def ready(adapter: str, software: bool) -> None:
        progress.clear()
        if not spec.json:
            say(f"  {adapter}{', a software adapter: the CPU computes, slowly' if software else ''}")

    def delta(text: str) -> None:
        if not spec.json:
            print(text, end="", flush=True)

    page.expose_function("demoProgress", progress.show)
    page.expose_function("demoReady", ready)
    page.expose_function("demoDelta", delta)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(_first_line(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    wanted = {
        "url": f"{base}/models/{quote(Path(spec.model).name)}",
        "messages": spec.messages,
        "prompt": spec.prompt,
        "options": spec.options,
    }
    try:
        page.goto(f"{base}/index.html?model={quote(wanted['url'], safe='')}", timeout=_START_MS)
        page.wait_for_function("() => globalThis.ModuleLoader?.getModule", timeout=_START_MS)
        result = page.evaluate(_SCRIPT, wanted)
    except Error as error:
        said = f"; the page said: {faults[0]}" if faults else ""
        raise Failure(f"The page failed ({_first_line(error)}{said}). Run `python3 build.py build` again.") from None
    finally:
        progress.clear()
    if "error" in result:
        raise Failure(f"{result['error']['name']}: {_last_words(result['error']['message'])}")
    return result


def report(result: dict[str, Any]) -> str:
    """The closing lines for a person."""
    software = " (software adapter)" if result["software_adapter"] else ""
    return (
        f"\n  {result['model']} on {result['adapter']}{software}\n"
        f"  {result['prompt_tokens']} prompt tokens, {result['completion_tokens']} new tokens, "
        f"first token after {result['time_to_first_token_s']:.2f} s, "
        f"{result['tokens_per_second']:.1f} tokens a second, finished: {result['finish_reason']}"
    )


def main(spec: Spec) -> None:
    """Serve, open, answer, report. Raises Failure."""
    model = Path(spec.model)
    with serving(Path(spec.dist), {model.name: model}, spec.port) as base, open_page(spec) as page:
        result = answer(spec, page, base)
        if spec.json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            print(flush=True)
            say(report(result))
        if spec.keep_open:
            say(f"  The page stays open at {base}/ until you press Ctrl-C.")
            with suppress(KeyboardInterrupt):
                page.wait_for_event("close", timeout=0)


def run(words: list[str]) -> int:
    """The exit status of main on a command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(Spec(**json.loads(words[0])))
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # Playwright's half-closed connection would complain on the way out after Ctrl-C
