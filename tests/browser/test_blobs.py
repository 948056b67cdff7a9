"""Bytes from URLs, files and memory to GPU buffers, past the Wasm heap: exact, resumed, refused with a reason."""

from __future__ import annotations

import random

import pytest

from tests.browser.harness import python

DATA = random.Random(7).randbytes(300_001)

COPY = """
from local_llm.browser.blobs import open_blobs
from local_llm.browser.device import open_device

async def copy(source, start, stop):
    device = await open_device()
    try:
        blobs = await open_blobs(source)
        room = (stop - start + 15) // 16 * 16 + 16
        buffer = device.create_buffer(room, "test")
        device.write(buffer, b"\\xff" * room)
        heard = []
        await blobs.stream_into(device, buffer, start, stop, heard.append)
        return [blobs.size, sum(heard), (await device.read(buffer, room)).hex()]
    finally:
        device.close()

await copy({source}, {start}, {stop})
"""


@pytest.fixture(scope="module")
def paths(server):
    server.files["/data.bin"] = ("application/octet-stream", DATA)


def copied(page, source: str, start: int, stop: int) -> bytes:
    """Bytes of the source that arrived in a buffer; what lies behind them is checked."""
    size, heard, text = python(page, COPY.format(source=source, start=start, stop=stop))
    data, wanted = bytes.fromhex(text), stop - start
    padded = (wanted + 3) // 4 * 4
    assert size == len(DATA)
    assert heard == wanted
    assert data[wanted:padded] == bytes(padded - wanted), "the last word is padded with zeros"
    assert data[padded:] == b"\xff" * (len(data) - padded), "nothing is written behind it"
    return data[:wanted]


@pytest.mark.parametrize(("start", "stop"), [(0, 300_001), (1, 300_000), (3, 4), (4099, 70_002), (5, 5)])
def test_a_range_of_a_url(page, paths, start, stop):
    assert copied(page, "'data.bin'", start, stop) == DATA[start:stop]


@pytest.mark.parametrize("path", ["bare/data.bin", "broken/data.bin"])
def test_servers_that_misbehave(page, paths, path):
    assert copied(page, f"'{path}'", 7, 299_990) == DATA[7:299_990]


def test_bytes_and_files(page, paths):
    fetched = "await __import__('js').fetch('data.bin')"
    assert copied(page, f"(await ({fetched}).arrayBuffer()).to_bytes()", 2, 200_001) == DATA[2:200_001]
    assert copied(page, f"await ({fetched}).blob()", 2, 200_001) == DATA[2:200_001]


def test_reading_forwards_is_one_request(page, paths, server):
    code = """
from local_llm.browser.blobs import open_blobs
from local_llm.browser.device import open_device
device = await open_device()
blobs = await open_blobs("data.bin")
buffer = device.create_buffer(65536, "test")
parts = []
for start in range(0, 300_000, 60_000):
    await blobs.stream_into(device, buffer, start + 32, start + 59_999, lambda n: None)
    parts.append((await device.read(buffer, 60_000))[: 59_967].hex())
device.close()
parts
"""
    server.requests.clear()
    parts = python(page, code)
    assert [bytes.fromhex(part) for part in parts] == [DATA[s + 32 : s + 59_999] for s in range(0, 300_000, 60_000)]
    assert [asked for path, asked in server.requests if path == "/data.bin"] == ["bytes=0-0", "bytes=0-300000"]


def test_another_origin_that_hides_content_range(page, paths, server):
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.requests.clear()
    assert copied(page, f"'{elsewhere}data.bin'", 5, 299_999) == DATA[5:299_999]
    assert [asked for path, asked in server.requests if path == "/data.bin"] == ["bytes=0-0", "bytes=0-300000"]


def test_a_load_that_is_cancelled(page, paths, server, monkeypatch):
    monkeypatch.setattr(server, "pause", 3.0)
    code = """
import asyncio
from local_llm.browser.blobs import open_blobs
from local_llm.browser.device import open_device
device = await open_device()
blobs = await open_blobs("slow/data.bin")
buffer = device.create_buffer(300_016, "test")
first = asyncio.ensure_future(blobs.stream_into(device, buffer, 0, 300_001, lambda n: None))
await asyncio.sleep(0.5)
first.cancel()
done, _ = await asyncio.wait([first], timeout=5)
buffer.destroy()
await asyncio.sleep(3)  # the server's second half has come
await device.idle()  # a write to the destroyed buffer would be told here
other = device.create_buffer(300_016, "test")
await blobs.stream_into(device, other, 0, 300_001, lambda n: None)
data = await device.read(other, 300_004)
device.close()
[len(done), first.cancelled(), data.hex()]
"""
    done, cancelled, text = python(page, code)
    assert [done, cancelled] == [1, True]
    assert bytes.fromhex(text) == DATA + bytes(3)


@pytest.mark.parametrize(
    ("path", "found"), [("missing.gguf", "404"), ("page.gguf", "HTML page"), ("http://127.0.0.1:9/x.gguf", "failed")]
)
def test_what_is_no_model_file(page, paths, path, found):
    code = f"""
from local_llm.browser.blobs import open_blobs
from local_llm.errors import DownloadFailed
try:
    await open_blobs({path!r})
    answer = "opened"
except DownloadFailed as error:
    answer = str(error)
answer
"""
    answer = python(page, code)
    assert path in answer
    assert found in answer


def test_beyond_the_end(page, paths):
    code = """
from local_llm.browser.blobs import open_blobs
from local_llm.errors import CorruptModel
blobs = await open_blobs("data.bin")
try:
    await blobs.read(300_000, 300_002)
    answer = "read"
except CorruptModel as error:
    answer = str(error)
[(await blobs.read(300_000, 300_001)).hex(), answer]
"""
    assert python(page, code) == [
        DATA[-1:].hex(),
        "Wanted bytes 300000 to 300002 of data.bin; it has 300001 bytes. "
        "The file is cut short or damaged: download it again.",
    ]
