"""Whole characters only, and the same text however the bytes were cut."""

import codecs
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm.text.stream_decoder import StreamDecoder

TEXT = "a é 漢字 😀👩‍👩‍👧 ﷽\n"


def decode(pieces):
    decoder = StreamDecoder()
    return [decoder.feed(piece) for piece in pieces], decoder.flush()


def test_single_bytes_give_whole_characters():
    deltas, rest = decode([bytes([byte]) for byte in TEXT.encode()])
    assert [delta for delta in deltas if delta] == list(TEXT)
    assert rest == ""


def test_a_character_in_four_pieces_arrives_with_its_last():
    raw = "😀".encode()
    assert decode([raw[:1], raw[1:3], b"", raw[3:]]) == (["", "", "", "😀"], "")


def test_an_unfinished_character_at_the_end_is_replaced():
    assert decode(["é😀".encode()[:-1]]) == (["é"], "\ufffd")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a\x80b", b"\xc3(", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"])
def test_invalid_bytes_become_replacement_characters_as_cpython_makes_them(raw):
    deltas, rest = decode([bytes([byte]) for byte in raw])
    assert "".join(deltas) + rest == raw.decode("utf-8", "replace")


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_cuts_do_not_matter(raw, cuts):
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    deltas, rest = decode([raw[a:b] for a, b in pairwise(edges)])
    assert "".join(deltas) + rest == codecs.decode(raw, "utf-8", "replace")
