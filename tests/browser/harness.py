"""What the browser tests stand on: a server that can misbehave, Chromium's switches, a page with Python up."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Playwright

from tests.browser.faults import PatientServer
from tools.serve import Handler

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("LOCAL_LLM_SITE", ROOT / "dist"))
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUIET = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--no-sandbox")
MANNERS = ("bare", "broken", "slow", "held", "below")
ADAPTER = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")


def chromium_path() -> str:
    """$CHROMIUM or the Chromium on PATH."""
    return shutil.which(os.environ.get("CHROMIUM", "chromium")) or "/usr/bin/chromium"


def launch(playwright: Playwright, switches: tuple[str, ...] = ()) -> Browser:
    """Headless Chromium with these switches."""
    args = ["--headless=new", *QUIET, *switches]
    return playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=args)


class TestServer:
    """The site at `url`; its models under /models/, and beside them paths that misbehave:

    /bare/NAME answers without byte ranges, /broken/NAME drops the first long answer midway, /slow/NAME
    pauses midway, /held/NAME waits for `go` midway, /below/NAME is the site in a folder, /page.gguf is an HTML page.
    `files` adds small files by path, readable from other origins; `requests` keeps (path, Range header) of GETs.
    """

    __test__ = False  # not a test class

    def __init__(self, site: Path, model: Path) -> None:
        self.site = site
        self.model = model
        self.files: dict[str, tuple[str, bytes]] = {"/page.gguf": ("text/html", b"<!doctype html><p>Not a model")}
        self.requests: list[tuple[str, str | None]] = []
        self.go = threading.Event()
        self.header = 0  # bytes of a file before its weights, of which /held/ sends 9/16
        self.pause = 1.0  # seconds, of /slow/
        self._dropped: set[str] = set()
        outer = self

        class TestHandler(Handler):
            folder = site
            models = {model.name: model}  # noqa: RUF012

            def do_GET(self) -> None:  # noqa: N802
                outer.answer(self)

            def do_HEAD(self) -> None:  # noqa: N802
                outer.answer(self)

        self._server = PatientServer(("127.0.0.1", 0), TestHandler)
        self._server.handle_error = lambda request, client_address: None  # a page that closes drops its connections
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> TestServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: Any) -> None:
        """One GET or HEAD."""
        path = urlsplit(handler.path).path
        if handler.command == "GET":
            self.requests.append((path, handler.headers.get("Range")))
        manner, _, rest = path[1:].partition("/")
        if manner in MANNERS:
            path = f"/{rest}"
            handler.path = handler.path.replace(f"/{manner}/", "/", 1)
        if manner == "bare":
            del handler.headers["Range"]
        if path in self.files:
            self._small(handler, path, manner)
        else:
            handler._answer(body=handler.command == "GET")

    def _small(self, handler: Any, path: str, manner: str) -> None:
        kind, data = self.files[path]
        start, stop, status = 0, len(data), 200
        wanted = handler.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(int(last) + 1, len(data)) if last else len(data), 206
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(stop - start))
        handler.send_header("Access-Control-Allow-Origin", "*")
        if wanted:
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        handler.end_headers()
        body = data[start:stop] if handler.command == "GET" else b""
        held = self.header + (len(data) - self.header) * 9 // 16 - start
        self._send(handler, body, manner if len(body) > 1000 else "", path, min(max(held, 0), len(body)))

    def _send(self, handler: Any, body: bytes, manner: str, path: str, held: int) -> None:
        drop = manner == "broken" and path not in self._dropped
        half = len(body) // 2 | 1 if drop or manner == "slow" else len(body)
        if manner == "held":
            half, step = held, held // 8 + 1
            for place in range(0, half, step):  # the page tells progress ten times a second
                handler.wfile.write(body[place : min(place + step, half)])
                time.sleep(0.15)
        else:
            handler.wfile.write(body[:half])
        if drop:
            self._dropped.add(path)
            handler.close_connection = True
        elif half < len(body):
            self.go.wait(600) if manner == "held" else time.sleep(self.pause)
            handler.wfile.write(body[half:])


def boot(page: Page, url: str) -> None:
    """Open the site and wait until Python is up."""
    page.goto(url)
    page.evaluate("async () => { globalThis.llm = await ModuleLoader.getModule('LocalLLM'); }")


def python(page: Page, code: str) -> Any:
    """The value of async Python code run in the page; its last expression, as JSON would say it."""
    return page.evaluate(
        """async (code) => {
            const { pyodide } = await ModuleLoader.getModule('LocalLLM');
            const globals = pyodide.toPy({});
            try {
                const value = await pyodide.runPythonAsync(code, { globals });
                return value?.toJs ? value.toJs({ dict_converter: Object.fromEntries }) : value;
            } finally { globals.destroy(); }
        }""",
        code,
    )
