"""A server of another origin whose files come with faults: for what storage and downloads must survive."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tools.serve import parse_range


@dataclass
class Faulty:
    """One file. statuses: what the first requests (after the probe) get instead, `always`: what all of them get;
    `refused`: the probe, too. hidden: refusals are without the header that lets pages of other origins read them.

    cut: bytes of a body after which the connection breaks. stalls: bodies that never begin. early: bodies that end too
    soon, without an error. flips: bodies with one wrong bit. changes: the body with which the file becomes another one.
    pace: seconds between pieces of 64 KiB.
    """

    data: bytes
    url: str
    statuses: list[int] = field(default_factory=list)
    always: int = 0
    refused: int = 0
    hidden: bool = False
    retry_after: str = ""
    ranges: bool = True
    cut: int = 0
    stalls: int = 0
    early: int = 0
    flips: int = 0
    changes: int = 0
    pace: float = 0.0
    kind: str = "application/octet-stream"
    etag: str = '"1"'
    digest: str = ""
    asked: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class PatientServer(ThreadingHTTPServer):
    """While the machine is busy connections wait in line; one that is not let in costs its client a second."""

    daemon_threads = True
    request_queue_size = 64


class FaultyServer:
    """`files` by name; `url` ends in a slash."""

    def __init__(self) -> None:
        self.files: dict[str, Faulty] = {}
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = PatientServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda request, client_address: None
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> FaultyServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One GET."""
        file = self.files[unquote(urlsplit(handler.path).path[1:])]
        wanted = handler.headers.get("Range") or "all"
        file.asked.append(wanted)
        probe = wanted == "bytes=0-0"
        status = file.always or (file.statuses.pop(0) if file.statuses else 0)
        if file.refused or (not probe and status):
            status = file.refused or status
            headers = {"Content-Length": "0", "Retry-After": file.retry_after}
            self._head(handler, status, headers, readable=not file.hidden)
            return
        if not probe and file.changes:
            file.changes -= 1
            if not file.changes:
                file.data, file.etag = file.data[::-1], '"2"'
        part = parse_range(wanted, len(file.data)) if file.ranges else None
        start, stop = part or (0, len(file.data))
        headers = {"Content-Type": file.kind, "ETag": file.etag, "Content-Length": str(stop - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(file.data)}"
        if file.digest:
            headers["X-Linked-ETag"] = f'"{file.digest}"'
        body = bytearray(file.data[start:stop])
        if not probe and file.early:
            file.early -= 1
            body = body[: len(body) // 2]
            headers["Transfer-Encoding"] = "chunked"
            del headers["Content-Length"]
        if not probe and file.flips:
            file.flips -= 1
            body[len(body) // 2] ^= 4
        self._head(handler, 206 if part else 200, headers)
        self._body(handler, file, bytes(body), "Transfer-Encoding" in headers, probe)

    def _head(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], readable: bool = True
    ) -> None:
        handler.send_response(status)
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"} if readable else {}
        for name, value in {**headers, **allowed}.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()

    def _body(self, handler: BaseHTTPRequestHandler, file: Faulty, body: bytes, chunked: bool, probe: bool) -> None:
        step, limit = 1 << 16, len(body)
        if not probe and file.stalls:
            file.stalls -= 1
            limit = 0
        if not probe and file.cut:
            limit = min(limit, file.cut)
        for at in range(0, limit, step):
            piece = body[at : min(at + step, limit)]
            file.sent += len(piece)  # before a page that has them can ask
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            time.sleep(file.pace)
        if chunked:
            handler.wfile.write(b"0\r\n\r\n")
        elif limit < len(body):
            if file.cut and limit == file.cut:
                time.sleep(0.05)  # what was sent arrives
            else:
                self.closing.wait(60)
            handler.close_connection = True
