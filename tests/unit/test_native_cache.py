"""What CPython keeps of files from the network: whole, checked, resumed, never mixed; what it does without room."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from pathlib import Path

import pytest

from local_llm.errors import CorruptModel, DownloadFailed
from local_llm.native.cache import cached_opener
from local_llm.transfer import Patience
from tests.browser.faults import Faulty, FaultyServer

CHUNK = 1 << 16
DATA = random.Random(9).randbytes(5 * CHUNK + 77)
QUICK = Patience(attempts=3, first_seconds=0.01)
BEGUN = 2 * CHUNK + 100  # bytes that are read before a process ends


@pytest.fixture
def file():
    """A sound file; a test puts faults in."""
    with FaultyServer() as server:
        server.files["model.bin"] = Faulty(DATA, f"{server.url}model.bin")
        yield server.files["model.bin"]


@pytest.fixture
def opened(tmp_path, file):
    """Opens it as a fresh process would."""

    async def opened():
        return await cached_opener(tmp_path, QUICK, CHUNK)(file.url)

    return opened


async def whole(opened):
    blobs = await opened()
    return await blobs.read(0, blobs.size)


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*-*"))


async def test_a_second_load_asks_the_network_nothing(opened, file, tmp_path):
    assert await whole(opened) == DATA
    assert file.asked == ["bytes=0-0", f"bytes=0-{len(DATA) - 1}"]  # one request for all chunks
    assert len(chunks(tmp_path)) == 6
    file.asked.clear()
    assert await whole(opened) == DATA
    assert file.asked == []


async def test_what_was_read_before_a_process_ended_is_not_fetched_again(opened, file):
    await (await opened()).read(0, BEGUN)
    file.asked.clear()
    assert await whole(opened) == DATA
    assert file.asked == ["bytes=0-0", f"bytes={3 * CHUNK}-{len(DATA) - 1}"]


async def test_any_range_is_right_and_streams_in_whole_words(opened):
    class Device:
        memory = bytearray(len(DATA) + 4)

        def write(self, buffer, data, offset=0):
            assert len(data) % 4 == offset % 4 == 0
            self.memory[offset : offset + len(data)] = data

    blobs = await opened()
    for start, stop in ((CHUNK - 3, CHUNK + 3), (7, 7), (len(DATA) - 5, len(DATA)), (1, 4 * CHUNK)):
        assert await blobs.read(start, stop) == DATA[start:stop]
    counts = []
    await blobs.stream_into(Device(), None, 3, len(DATA), counts.append)
    assert Device.memory[: len(DATA) - 3] == DATA[3:]
    assert sum(counts) == len(DATA) - 3
    with pytest.raises(CorruptModel, match="ends at byte"):
        await blobs.read(0, len(DATA) + 1)


@pytest.mark.parametrize("told", [False, True])
async def test_a_damaged_chunk_is_fetched_again_alone(opened, file, tmp_path, told):
    file.digest = file.sha256 if told else ""
    await whole(opened)
    damaged, short = chunks(tmp_path)[1], chunks(tmp_path)[4]
    damaged.write_bytes(bytes(CHUNK))
    short.write_bytes(short.read_bytes()[:-1])
    file.asked.clear()
    assert await whole(opened) == DATA
    assert [one.split("-")[0] for one in file.asked] == [f"bytes={CHUNK}", f"bytes={4 * CHUNK}"]
    assert [hashlib.sha256(one.read_bytes()).hexdigest() in one.name for one in chunks(tmp_path)] == 6 * [True]


async def test_a_digest_is_judged_only_over_chunks_that_are_sound(opened, file, tmp_path):
    file.digest = file.sha256
    await whole(opened)
    *_, last = chunks(tmp_path)
    chunks(tmp_path)[2].write_bytes(b"")
    last.unlink()
    assert await (await opened()).read(len(DATA) - 10, len(DATA)) == DATA[-10:]
    assert len(chunks(tmp_path)) == 5
    file.data = DATA[: 2 * CHUNK] + bytes(CHUNK) + DATA[3 * CHUNK :]  # what comes for the chunk that is missing yet
    with pytest.raises(CorruptModel, match=file.digest):
        await whole(opened)
    assert chunks(tmp_path) == []


async def test_chunks_of_another_length_do_not_count(opened, file, tmp_path):
    for length in (CHUNK // 2, 2 * CHUNK):  # of another version of this package
        other = await cached_opener(tmp_path, QUICK, length)(file.url)
        assert await other.read(0, other.size) == DATA
        assert await whole(opened) == DATA


async def test_another_version_is_never_mixed_in(opened, file, tmp_path):
    reading = await opened()
    await reading.read(0, BEGUN)
    file.data, file.etag = DATA[::-1], '"2"'
    assert await whole(opened) == DATA[::-1]
    assert len(chunks(tmp_path)) == 6
    reading._end()
    with pytest.raises(DownloadFailed, match="has changed on the server"):
        await reading.read(0, len(DATA))


async def test_a_connection_that_breaks_goes_on_at_the_next_byte(opened, file):
    file.cut = CHUNK + 1000
    assert await whole(opened) == DATA
    assert file.sent <= 1.1 * len(DATA)


async def test_a_server_that_is_gone_is_asked_a_few_times(opened, file):
    blobs = await opened()
    file.statuses = [503, 503]
    assert await blobs.read(0, 10) == DATA[:10]
    blobs._end()
    file.always = 503
    with pytest.raises(DownloadFailed, match="answered 503"):
        await blobs.read(CHUNK, 2 * CHUNK)


async def test_a_flipped_bit_is_noticed_where_the_server_tells_a_digest(opened, file, tmp_path):
    file.flips, file.digest = 1, file.sha256
    with pytest.raises(CorruptModel, match=file.sha256):
        await whole(opened)
    assert chunks(tmp_path) == []
    assert await whole(opened) == DATA


async def test_without_room_or_a_disk_files_are_read_and_not_kept(opened, file, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1 << 30)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: free)
        assert await whole(opened) == DATA
    assert chunks(tmp_path) == []
    blobs = await opened()
    shutil.rmtree(tmp_path)
    assert await blobs.read(0, len(DATA)) == DATA
    tmp_path.write_text("a file where the folder was")
    assert await whole(opened) == DATA


async def test_what_another_process_renames_meanwhile_is_no_failure(opened, file, tmp_path):
    await (await opened()).read(0, BEGUN)
    beside = chunks(tmp_path)[0].with_name("000005-0.1.tmp")
    beside.symlink_to(tmp_path / "renamed")  # is listed, and gone when it is looked at
    assert await whole(opened) == DATA
    beside.unlink()
    assert len(chunks(tmp_path)) == 6


async def test_servers_without_ranges_and_paths_are_read_as_they_are(opened, file, tmp_path):
    file.ranges = False
    assert await whole(opened) == DATA
    assert chunks(tmp_path) == []
    (tmp_path / "local.bin").write_bytes(DATA)
    local = await cached_opener(tmp_path, QUICK, CHUNK)(tmp_path / "local.bin")
    assert await local.read(0, 9) == DATA[:9]


async def test_two_at_once_keep_one_file(opened, tmp_path):
    assert await asyncio.gather(whole(opened), whole(opened)) == [DATA, DATA]
    assert len(chunks(tmp_path)) == 6
