"""The limits of the fuzzing tests hold, and what breaks one is kept."""

from __future__ import annotations

import hashlib
import time

import pytest

from local_llm.errors import CorruptModel
from tests.unit import fuzzing
from tests.unit.fuzzing import Hung, bounded, keeping


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Slow:
    def __del__(self) -> None:
        busy(0.3)


def test_what_ends_soon_in_little_memory_may_fail_in_our_way_only():
    with bounded(1 << 20):
        raise CorruptModel("no model")
    with pytest.raises(ZeroDivisionError), bounded(1 << 20):
        print(1 // 0)
    with pytest.raises(AssertionError, match="bytes at once"), bounded(1 << 20):
        bytes(2 << 20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "slow", [lambda: busy(9), lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000), lambda: Slow() and None]
)
def test_what_takes_long_is_seen(slow, monkeypatch):
    """In Python it is ended; in native code, and where no exception can go, it is told afterwards."""
    monkeypatch.setattr(fuzzing, "SLOW", 0.1)
    with pytest.raises(Hung), bounded(1 << 30):
        slow()


def test_the_limit_ends_with_what_it_is_for(monkeypatch):
    monkeypatch.setattr(fuzzing, "SLOW", 0.1)
    with bounded(1 << 20):
        pass
    busy(0.3)


def test_an_example_is_kept_until_it_is_through(tmp_path):
    path = tmp_path / "kept" / "a[b].txt"

    def one(example: str) -> None:
        assert path.read_text("utf-8") == f"{example!r}\n"
        if example == "bad":
            raise Hung("on this")

    run = keeping(path, one)
    run("good")
    assert not path.exists()
    with pytest.raises(Hung):
        run("bad")
    run("good")
    failed = path.with_suffix(".failed").read_text("utf-8")
    assert failed.startswith("'bad'\nTraceback")
    assert "Hung: on this" in failed
