"""The native Blobs and Store: files, bytes, servers with and without ranges, and what goes wrong with them."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.formats.gguf import read_gguf
from local_llm.native import blobs as native
from local_llm.native.blobs import open_blobs
from local_llm.native.store import FileStore
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf

DATA = bytes(range(256)) * 40 + b"tail."


class Handler(BaseHTTPRequestHandler):
    """/ranges answers ranges, /whole ignores them, /short ends too early, /empty is empty, /404 answers 404.

    /html is a page that does not say so, /page one that does.
    """

    def do_GET(self):
        where = self.path.strip("/")
        if where.isdigit():
            return self.send_error(int(where))
        body = {"html": b"<!DOCTYPE html><p>Sign in</p>", "empty": b""}.get(where, DATA)
        if where in ("ranges", "short", "empty"):
            start, stop = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
            if start >= len(body):
                return self.send_error(416)
            part = body[start : stop + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        else:
            part = body
            self.send_response(200)
        if where == "page":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:-1] if where == "short" and len(part) > 1 else part)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class RecordingWrites:
    """A device of which only `write` is used."""

    def __init__(self):
        self.memory = bytearray(len(DATA) + 8)
        self.sizes = []

    def write(self, buffer, data, offset=0):
        assert len(data) % 4 == offset % 4 == 0
        self.memory[offset : offset + len(data)] = data
        self.sizes.append(len(data))


@pytest.fixture(params=["path", "string", "bytes", "ranges", "whole"])
def source(request, tmp_path, server):
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    kinds = {"path": path, "string": str(path), "bytes": DATA}
    return kinds.get(request.param, f"{server}/{request.param}")


def test_any_source_gives_any_range(source):
    blobs = wait(open_blobs(source))
    assert blobs.size == len(DATA)
    assert wait(blobs.read(0, 4)) == DATA[:4]
    assert wait(blobs.read(1001, 5000)) == DATA[1001:5000]
    assert wait(blobs.read(7, 7)) == b""
    assert wait(blobs.read(len(DATA) - 5, len(DATA))) == b"tail."


@pytest.mark.parametrize(("start", "stop"), [(0, len(DATA)), (3, 1002), (100, 101), (8, 8)])
def test_bytes_are_streamed_to_the_device_in_pieces_with_a_padded_tail(source, start, stop, monkeypatch):
    monkeypatch.setattr(native, "_PIECE", 512)
    blobs = wait(open_blobs(source))
    device: Any = RecordingWrites()
    seen = []
    wait(blobs.stream_into(device, None, start, stop, seen.append))
    length = stop - start
    assert device.memory[:length] == DATA[start:stop]
    assert not any(device.memory[length:])
    assert sum(seen) == length
    assert sum(device.sizes) == (length + 3) // 4 * 4
    assert max(device.sizes, default=0) <= 512


def test_names_are_what_a_person_would_recognise(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    assert wait(open_blobs(path)).name == str(path)
    assert wait(open_blobs(DATA)).name == "the given bytes"


def test_what_cannot_be_opened_is_named(tmp_path, server):
    with pytest.raises(DownloadFailed, match=r"none\.gguf cannot be opened: No such file"):
        wait(open_blobs(tmp_path / "none.gguf"))
    with pytest.raises(DownloadFailed, match=r"cannot be opened: Is a directory"):
        wait(open_blobs(tmp_path))
    with pytest.raises(DownloadFailed, match="/404 answered 404"):
        wait(open_blobs(f"{server}/404"))
    with pytest.raises(DownloadFailed, match="/page is an HTML page"):
        wait(open_blobs(f"{server}/page"))
    with pytest.raises(DownloadFailed, match="/empty is empty"):
        wait(open_blobs(f"{server}/empty"))
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        wait(open_blobs("http://127.0.0.1:1/model.gguf"))
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        wait(open_blobs("http://"))
    with pytest.raises(DownloadFailed, match="found int"):
        wait(open_blobs(5))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("where", "absent", "status"),
    [
        *((str(status), True, status) for status in (401, 403, 404, 410, 451)),
        *((str(status), False, status) for status in (408, 425, 429, 500, 501, 503, 504)),
        ("page", True, 0),
        ("empty", True, 416),
    ],
)
def test_an_error_says_whether_the_server_has_no_such_file(server, where, absent, status):
    with pytest.raises(DownloadFailed) as caught:
        wait(open_blobs(f"{server}/{where}"))
    assert (caught.value.absent, caught.value.status) == (absent, status)


def test_an_error_says_whether_the_disk_has_no_such_file(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    for place, absent in (("none", True), ("file/none", True), ("", False)):
        with pytest.raises(DownloadFailed) as caught:
            wait(open_blobs(tmp_path / place))
        assert caught.value.absent is absent
    for address in ("http://127.0.0.1:1/model.gguf", "http://"):
        with pytest.raises(DownloadFailed) as caught:
            wait(open_blobs(address))
        assert not caught.value.absent


def test_a_connection_that_ends_early_is_corrupt_or_failed(server):
    blobs = wait(open_blobs(f"{server}/short"))
    with pytest.raises((CorruptModel, DownloadFailed), match="short"):
        wait(blobs.read(0, 100))
    device: Any = RecordingWrites()
    with pytest.raises((CorruptModel, DownloadFailed), match="short"):
        wait(blobs.stream_into(device, None, 0, 100, lambda _: None))


def test_a_range_past_the_end_is_corrupt(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    with pytest.raises(CorruptModel, match=f"ends at byte {len(DATA)}"):
        wait(wait(open_blobs(path)).read(len(DATA) - 2, len(DATA) + 2))


def test_an_html_page_in_a_models_place_is_recognised(server):
    blobs = wait(open_blobs(f"{server}/html"))
    with pytest.raises(CorruptModel, match=r"html, byte 0.*an HTML page"):
        wait(read_gguf(blobs))


def test_a_model_reads_the_same_from_a_file_and_from_bytes(tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf")
    one = wait(read_gguf(wait(open_blobs(tiny.path))))
    other = wait(read_gguf(wait(open_blobs(tiny.path.read_bytes()))))
    assert one.tensors == other.tensors
    assert one.size == other.size == tiny.path.stat().st_size


# Store


def test_settings_survive(tmp_path):
    path = tmp_path / "new" / "store.json"
    wait(FileStore(path).set("theme", "dunkel 🌙"))
    wait(FileStore(path).set("model", "x"))
    assert wait(FileStore(path).get("theme")) == "dunkel 🌙"
    assert wait(FileStore(path).get("none")) is None
    assert {file.name for file in path.parent.iterdir()} - {"store.lock"} == {"store.json"}


def test_processes_do_not_lose_what_others_keep(tmp_path):
    code = f"""import asyncio, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from local_llm.native.store import FileStore
store = FileStore(Path(sys.argv[1]))
print(flush=True)
sys.stdin.read()
for n in range(100):
    asyncio.run(store.set(sys.argv[2] + str(n), "x"))
"""
    path = tmp_path / "store.json"
    commands = [[sys.executable, "-c", code, str(path), name] for name in "abc"]
    processes: list[Any] = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for words in commands
    ]
    for process in processes:
        assert process.stdout.readline()
    for process in processes:  # all of them are ready
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(json.loads(path.read_text("utf-8"))) == 300


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"theme": 5}', b"\xff\xfe"])
def test_a_damaged_store_counts_as_empty_and_can_be_written(tmp_path, content):
    path = tmp_path / "store.json"
    path.write_bytes(content)
    store = FileStore(path)
    assert wait(store.get("theme")) is None
    wait(store.set("theme", "light"))
    assert wait(store.get("theme")) == "light"


def test_settings_that_cannot_be_read_now_are_not_written_over(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "store.json")
    wait(store.set("theme", "light"))

    def failing(self, *words, **more):
        raise PermissionError

    with monkeypatch.context() as now:
        now.setattr(Path, "read_text", failing)
        assert wait(store.get("theme")) is None
        wait(store.set("model", "x"))
    assert wait(store.get("theme")) == "light"
    assert wait(store.get("model")) is None
