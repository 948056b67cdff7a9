"""Texts that are walked over and JSON that is cut: the same as one step after the other, whatever the bytes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm.formats import json_slices
from local_llm.formats.strings import HEADER, Strings, walk
from local_llm.text.table import packed

TEXT = st.one_of(st.binary(max_size=12), st.sampled_from([b"", bytes(9), b"a" * 300, b"\x01" + bytes(7), b"\xff\xf0"]))
VALUE = st.recursive(
    st.one_of(st.integers(), st.text('a"\\,[]{}: \u20ac', max_size=6), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text('a"\\]', max_size=3), inner, max_size=3)
    ),
    max_leaves=9,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=30), st.integers(1, 4), st.binary(max_size=5), st.integers(0, 40))
def test_a_walk_finds_every_text(texts, times, before, gone):
    texts = texts * times * 5
    data = before + b"".join(struct.pack("<Q", len(text)) + text for text in texts)
    stops = walk(data, len(before), len(data), len(texts))
    found = packed("a", Strings(np.frombuffer(data[len(before) :], np.uint8), stops, HEADER))
    assert list(found) == [text.decode("utf-8", "replace") for text in texts]
    assert found[1:-1] == list(found)[1:-1]
    cut = max(len(data) - gone, len(before))
    short = walk(data[:cut], len(before), cut, len(texts))
    assert short.tolist() == [stop for stop in stops.tolist() if stop + len(before) <= cut]


def sliced(raw: bytes, start: int) -> tuple[list[Any], int]:
    steps = json_slices.slices(raw, start)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            places, stop = ended.value
            return [value for a, b in places for value in json.loads(b"[" + raw[a:b] + b"]")], stop


def parted(raw: bytes) -> tuple[dict[str, Any], int]:
    steps, found, stop = json_slices.members(raw, 0), {}, None
    while True:
        try:
            key, start = next(steps) if stop is None else steps.send(stop)
        except StopIteration as ended:
            return found, ended.value
        stop = json_slices.end_of(raw, start)
        found[key] = json.loads(raw[start:stop])


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUE, max_size=12), st.sampled_from([None, 1]), st.integers(1, 40))
def test_slices_of_a_list_hold_its_elements(values, indent, window):
    raw = b" " + json.dumps(values, indent=indent, ensure_ascii=False).encode() + b" ,"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_slices, "_WINDOW", window)
        assert sliced(raw, 1) == (values, len(raw) - 2)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text('a"\\ ]', max_size=3), VALUE, max_size=6), st.sampled_from([None, 1]))
def test_members_of_an_object_are_found(values, indent):
    raw = json.dumps(values, indent=indent).encode() + b"]"
    assert parted(raw) == (values, len(raw) - 1)


@pytest.mark.parametrize("raw", [b"[1,]", b"[,1]", b"[,]", b"[1", b'["a]', b"x", b""])
def test_what_is_no_list_is_refused(raw):
    with pytest.raises(ValueError, match=r"missing|does not end|Expecting|Illegal"):
        sliced(raw, 0)


@pytest.mark.parametrize("raw", [b'{"a":1,}', b'{"a" 1}', b'{"a":1]', b"{,}", b"{", b'{"a":', b"x", b""])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(ValueError, match=r"missing|does not end|Expecting"):
        parted(raw)
