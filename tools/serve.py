"""A static file server for loopback: byte ranges, MIME types that browsers insist on, models under /models/.

Knows only folders and files. Standard library's handler has neither ranges nor the types.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.shell import Failure

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".whl": "application/zip",
    ".zip": "application/zip",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".py": "text/plain; charset=utf-8",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
_BLOCK = 1 << 20


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes [start, stop) that a Range header asks of a file, or None for all of it.

    Several ranges, other units and nonsense count as no header, as the standard allows. Raises ValueError
    where the range begins past the end.
    """
    match = _RANGE.match((header or "").strip())
    if not match or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, stop = max(size - int(match[2]), 0), size
    else:
        start, stop = int(match[1]), int(match[2]) + 1 if match[2] else size
        if match[2] and stop <= start:
            return None
    if start >= size:
        raise ValueError(f"range begins at {start}, the file has {size} bytes")
    return start, min(stop, size)


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files below `folder`, and of the files in `models` under /models/."""

    protocol_version = "HTTP/1.1"
    folder: Path
    models: Mapping[str, Path]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the caller."""

    def _locate(self) -> Path | None:
        parts = [part for part in unquote(urlsplit(self.path).path).split("/") if part]
        if len(parts) == 2 and parts[0] == "models" and parts[1] in self.models:
            return self.models[parts[1]]
        path = self.folder.joinpath(*parts).resolve() if ".." not in parts else self.folder.parent
        if not path.is_relative_to(self.folder.resolve()):
            return None
        path = path / "index.html" if path.is_dir() else path
        return path if path.is_file() else None

    def _answer(self, body: bool) -> None:
        try:
            path = self._locate()
            stream = path.open("rb") if path else None
        except (OSError, ValueError):  # unreadable, or a name that no file can have
            path = stream = None
        if path is None or stream is None:
            self._refuse(HTTPStatus.NOT_FOUND, body)
            return
        with stream:
            status = os.fstat(stream.fileno())
            try:
                part = parse_range(self.headers.get("Range"), status.st_size)
            except ValueError:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, body, f"bytes */{status.st_size}")
                return
            start, stop = part or (0, status.st_size)
            self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(path.suffix.lower(), "application/octet-stream"))
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", formatdate(status.st_mtime, usegmt=True))
            self.send_header("ETag", f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
            self.send_header("Cache-Control", "no-cache")
            if part:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{status.st_size}")
            self.end_headers()
            if body:
                stream.seek(start)
                self._send(stream, stop - start)

    def _send(self, stream, remaining: int) -> None:
        try:
            while remaining and (block := stream.read(min(remaining, _BLOCK))):
                self.wfile.write(block)
                remaining -= len(block)
        except ConnectionError:
            remaining = 1
        if remaining:  # the browser left, or the file shrank: this connection is out of step
            self.close_connection = True

    def _refuse(self, status: HTTPStatus, body: bool, content_range: str = "") -> None:
        text = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", TYPES[".txt"])
        self.send_header("Content-Length", str(len(text)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if body:
            self.wfile.write(text)


class Server(ThreadingHTTPServer):
    """A browser that leaves in the middle is no event."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


def open_server(folder: Path, models: Mapping[str, Path] | None = None, port: int = 0) -> Server:
    """A server on 127.0.0.1 that listens already; port 0 takes a free one. Raises Failure where it is taken."""
    handler = type("FolderHandler", (Handler,), {"folder": folder, "models": dict(models or {})})
    try:
        server = Server(("127.0.0.1", port), handler)
    except OverflowError:
        raise Failure(f"Port {port} is none: ports go from 0 to 65535. Choose another with --port.") from None
    except OSError as error:
        taken = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise Failure(f"Port {port} {taken}. Choose another with --port.") from None
    return server


def address(server: Server) -> str:
    """http://127.0.0.1:PORT, without a slash at the end."""
    return f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def serving(folder: Path, models: Mapping[str, Path] | None = None, port: int = 0) -> Iterator[str]:
    """Serve in the background; yields the address."""
    server = open_server(folder, models, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield address(server)
    finally:
        server.shutdown()
        server.server_close()
