"""The loopback server: byte ranges, MIME types, models from elsewhere, nothing outside its folder."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

import pytest

from tools.serve import open_server, parse_range, serving
from tools.shell import Failure

MODEL = bytes(range(256)) * 40


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "dist"
    (folder / "pyodide").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>é", encoding="utf-8")
    for name in ("boot.js", "a.mjs", "a.wasm", "a.css", "a.json", "a.whl", "a.zip", "a.gguf", "a b.txt"):
        (folder / name).write_bytes(name.encode())
    (tmp_path / "secret").write_text("no")
    (folder / "link").symlink_to(tmp_path / "secret")
    model = tmp_path / "elsewhere" / "m odel.gguf"
    model.parent.mkdir()
    model.write_bytes(MODEL)
    with serving(folder, {model.name: model}) as base:
        yield base


def ask(base, path, method="GET", **headers):
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
    ],
)
def test_parse_range(header, expected):
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_parse_range_past_the_end(header):
    with pytest.raises(ValueError, match="the file has 100 bytes"):
        parse_range(header, 100)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/boot.js?v=1", "text/javascript; charset=utf-8"),
        ("/a.mjs", "text/javascript; charset=utf-8"),
        ("/a.wasm", "application/wasm"),
        ("/a.css", "text/css; charset=utf-8"),
        ("/a.json", "application/json"),
        ("/a.whl", "application/zip"),
        ("/a.zip", "application/zip"),
        ("/a.gguf", "application/octet-stream"),
        ("/a%20b.txt", "text/plain; charset=utf-8"),
    ],
)
def test_types(site, path, kind):
    reply, body = ask(site, path)
    assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
    assert len(body) == int(reply.headers["Content-Length"])
    assert reply.headers["Accept-Ranges"] == "bytes"


def test_whole_model(site):
    reply, body = ask(site, "/models/m%20odel.gguf")
    assert (reply.status, body) == (200, MODEL)


def test_part_of_a_model(site):
    reply, body = ask(site, "/models/m%20odel.gguf", Range="bytes=300-1299")
    assert (reply.status, body) == (206, MODEL[300:1300])
    assert reply.headers["Content-Range"] == f"bytes 300-1299/{len(MODEL)}"
    assert reply.headers["Content-Length"] == "1000"


def test_range_past_the_end(site):
    reply, _ = ask(site, "/models/m%20odel.gguf", Range=f"bytes={len(MODEL)}-")
    assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{len(MODEL)}")


def test_head_has_no_body(site):
    reply, body = ask(site, "/models/m%20odel.gguf", method="HEAD", Range="bytes=0-9")
    assert (reply.status, reply.headers["Content-Length"], body) == (206, "10", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/../secret",
        "/%2e%2e/secret",
        "/pyodide/../../secret",
        "/link",
        "/models/../secret",
        "/models/other.gguf",
        "/pyodide/",
        "/a%00b",
        "/" + "x" * 5000,
    ],
)
def test_not_found(site, path):
    reply, body = ask(site, path)
    assert (reply.status, body) == (404, b"404 Not Found\n")


def test_one_connection_serves_many(site):
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=10)
    for start in range(0, 100, 10):
        connection.request("GET", "/models/m%20odel.gguf", headers={"Range": f"bytes={start}-{start + 9}"})
        assert connection.getresponse().read() == MODEL[start : start + 10]
    connection.close()


def test_a_browser_that_leaves_harms_nobody(site, capfd):
    for _ in range(3):
        with socket.create_connection(urlsplit(site).netloc.split(":")) as rude:
            rude.sendall(b"GET /models/m%20odel.gguf HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ask(site, "/")[0].status == 200
    assert capfd.readouterr().err == ""


def test_impossible_port(tmp_path):
    with pytest.raises(Failure, match=r"Port 99999 is none: ports go from 0 to 65535\. Choose another with --port\."):
        open_server(tmp_path, {}, 99999)


def test_taken_port(site, tmp_path):
    port = urlsplit(site).port
    with pytest.raises(Failure, match=f"Port {port} is in use. Choose another with --port."):
        open_server(tmp_path, {}, port or 0)
