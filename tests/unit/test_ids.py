"""Ids as the GPU takes them: what is refused, what is the same from the start."""

import struct
from typing import Any

import numpy as np
import pytest

from local_llm.errors import ContextOverflow, InvalidRequest
from local_llm.generate.ids import common_prefix, pack_ids, packed_prompt


def test_ids_are_u32_little_endian():
    ids: list[Any] = [1, 258, np.int64(7), True]
    assert packed_prompt(ids, 300, 4) == struct.pack("<4I", 1, 258, 7, 1)


@pytest.mark.parametrize("wrong", [-1, 300, 1 << 32, -(1 << 70)])
@pytest.mark.parametrize("place", [0, 5, 9])
def test_the_wrong_one_is_named(wrong, place):
    ids = [1] * 10
    ids[place] = wrong
    with pytest.raises(InvalidRequest, match=f"Token id {wrong} is outside the vocabulary of 300"):
        packed_prompt(ids, 300, 10)


def test_what_is_too_long_is_told_before_what_is_wrong():
    with pytest.raises(ContextOverflow, match="2 tokens; the cache holds 1"):
        packed_prompt((1, -1), 300, 1)
    with pytest.raises(InvalidRequest, match="no tokens"):
        packed_prompt((), 300, 1)


@pytest.mark.parametrize("length", range(6))
def test_a_prefix_ends_at_the_first_difference(length):
    one, other = [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]
    if length < 5:
        other[length] += 256  # the ids differ in a byte that is not their first
    assert common_prefix(pack_ids(one), pack_ids(other)) == min(length, 5)
    assert common_prefix(pack_ids(other), pack_ids(one)) == min(length, 5)
    assert common_prefix(b"", pack_ids(other)) == common_prefix(pack_ids(one), b"") == 0
