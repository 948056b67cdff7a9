"""When a download is tried again, and which answers are of the same file."""

from __future__ import annotations

import base64
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as some

from local_llm.transfer import Identity, Patience, Reach, digest_of, retry_after, start_of, total_of

DIGEST = "5a" * 32


def test_requests_grow_while_they_come_soon():
    reach = Reach(4 << 20)
    asked = [reach.nbytes, *(reach.came(0.1) or reach.nbytes for _ in range(3)), reach.came(5.0) or reach.nbytes]
    assert asked == [4 << 20, 16 << 20, 32 << 20, 32 << 20, 32 << 20]
    slow = Reach(4 << 20)
    slow.came(5.0)
    assert slow.nbytes == 4 << 20


@given(some.integers(300_000, 20 << 20), some.lists(some.booleans(), max_size=20))
def test_requests_stay_below_the_length_that_breaks(cut, slow):
    """A server that cuts each answer: a few requests break, then none for a long time."""
    reach, broken, slow = Reach(4 << 20), [], slow or [False]
    for number in range(250):
        if reach.nbytes > cut:
            broken.append(number)
            reach.broke(reach.nbytes)
        else:
            reach.came(5.0 if slow[number % len(slow)] else 0.1)
    assert len(broken) <= 6
    assert reach.nbytes <= cut


def test_longer_requests_are_tried_again():
    reach = Reach(1 << 20)
    reach.broke(1 << 20)
    for _ in range(2000):
        reach.came(0.1)
    assert reach.nbytes == 32 << 20


def test_requests_do_not_become_tiny():
    reach = Reach(4 << 20)
    for _ in range(40):
        reach.broke(reach.nbytes)
    assert reach.nbytes == 1 << 18


@given(some.integers(0, 40), some.floats(0, 1))
def test_pauses_double_up_to_a_limit_and_vary(failures, luck):
    patience = Patience(first_seconds=1, most_seconds=10)
    usual = min(2 ** max(failures - 1, 0), 10)
    assert usual / 2 <= patience.pause(failures, None, luck) <= usual


def test_a_server_that_asks_for_time_gets_it_within_reason():
    patience = Patience(first_seconds=1, most_seconds=10)
    assert patience.pause(1, 7.0, 0.5) == 7.0
    assert patience.pause(1, 1e9, 0.5) == 40.0
    assert patience.pause(4, 0.1, 1.0) == 8.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), (formatdate(1060, usegmt=True), 60.0), (formatdate(10, usegmt=True), 0.0), ("", None), ("soon", None)],
)
def test_retry_after(text, seconds):
    assert retry_after(text, 1000.0) == seconds


@pytest.mark.parametrize(
    ("text", "start", "total"),
    [("bytes 5-9/100", 5, 100), ("bytes 0-0/*", 0, None), ("", None, None), ("bytes */7", None, 7), ("x", None, None)],
)
def test_content_range(text, start, total):
    assert (start_of(text), total_of(text)) == (start, total)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Identity(9, '"a"', "Monday"), True),
        (Identity(9, 'W/"a"', "Monday"), True),
        (Identity(9), True),  # a server that says nothing contradicts nothing
        (Identity(8, '"a"', "Monday"), False),
        (Identity(9, '"b"', "Monday"), False),
        (Identity(9, '"a"', "Tuesday"), False),
    ],
)
def test_identity(other, same):
    assert Identity(9, '"a"', "Monday").fits(other) is same
    assert other.fits(Identity(9, '"a"', "Monday")) is same


@pytest.mark.parametrize(
    ("headers", "digest"),
    [
        ({"x-linked-etag": f'"{DIGEST}"'}, DIGEST),
        ({"repr-digest": f"md5=:AA==:, sha-256=:{base64.b64encode(bytes.fromhex(DIGEST)).decode()}:"}, DIGEST),
        ({"x-linked-etag": '"short"'}, ""),
        ({"repr-digest": "sha-256=:AAAA:"}, ""),
        ({"repr-digest": "sha-256=:A:"}, ""),
        ({"etag": f'"{DIGEST}"'}, ""),  # an ETag may be anything
        ({}, ""),
    ],
)
def test_digest_of(headers, digest):
    assert digest_of(headers) == digest
