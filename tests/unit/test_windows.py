"""Windows cover every block once, in the file's order, at places where a copy may begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm.errors import UnsupportedModel
from local_llm.formats.checkpoint import Tensor
from local_llm.formats.quant import BY_NAME, MLC_TYPES
from local_llm.formats.windows import block_bytes, plan_windows

NAMES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q3_K", "MXFP4")
KINDS = {
    **{name: BY_NAME[name] for name in NAMES},
    **{kind.name: kind for pair in MLC_TYPES.values() for kind in (pair.weight, pair.scale)},
}


def tensor(name, kind, rows, cols, start):
    kind = KINDS[kind]
    blocks = -(-cols // kind.block)
    pieces = {"block": rows * blocks, "row": rows, "group": blocks}[kind.piece]
    return Tensor(name, (rows, cols), kind, start, start + pieces * kind.piece_bytes(rows, cols))


@st.composite
def files(draw):
    start = draw(st.integers(0, 9)) * 32
    found = []
    for number in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        block = KINDS[kind].block
        cols = draw(st.integers(1, 70 if block == 1 else 4)) * block
        if KINDS[kind].code < 0:
            cols -= draw(st.integers(0, block - 1))  # MLC pads rows
        found.append(tensor(str(number), kind, draw(st.integers(1, 60)), cols, start))
        start = (found[-1].stop + 31) // 32 * 32 + draw(st.sampled_from([0, 0, 32, 8192, 5, 2]))
    return draw(st.permutations(found))


@given(files(), st.integers(260, 3000).map(lambda n: 4 * n))
def test_every_block_once_in_order(found, size):
    windows = plan_windows(found, size)
    ordered = sorted(found, key=lambda tensor: tensor.start)
    pieces = [(piece, window) for window in windows for piece in window.slices]
    blocks = {tensor.name: 0 for tensor in ordered}
    order = [tensor.name for tensor in ordered]
    at = 0
    for piece, window in pieces:
        width = block_bytes(piece.tensor)
        start = piece.tensor.start + piece.first_block * width
        assert piece.first_block == blocks[piece.tensor.name]
        assert piece.blocks > 0
        blocks[piece.tensor.name] += piece.blocks
        assert start == window.start + piece.offset
        assert window.start % 4 == 0
        assert piece is not window.slices[0] or piece.offset < 4
        assert at <= start
        at = start + piece.blocks * width
        assert at <= window.stop <= window.start + size
    assert list(dict.fromkeys(piece.tensor.name for piece, _ in pieces)) == order
    assert all(blocks[t.name] * block_bytes(t) == t.nbytes for t in ordered)


def test_small_tensors_share_a_window_and_large_ones_are_cut():
    found = [tensor("a", "F32", 1, 8, 64), tensor("b", "Q8_0", 10, 64, 96), tensor("c", "F16", 3, 5, 800)]
    windows = plan_windows(found, 392)
    assert [[(s.tensor.name, s.first_block, s.blocks, s.offset) for s in w.slices] for w in windows] == [
        [("a", 0, 1, 0), ("b", 0, 10, 32)],
        [("b", 10, 10, 0), ("c", 0, 2, 364)],
        [("c", 2, 1, 0)],
    ]


def test_bytes_that_nobody_wants_are_not_fetched():
    windows = plan_windows([tensor("a", "F32", 1, 8, 0), tensor("b", "F32", 1, 8, 1 << 20)], 4 << 20)
    assert [(window.start, window.stop) for window in windows] == [(0, 32), (1 << 20, (1 << 20) + 32)]


def test_a_row_that_no_window_holds_is_named():
    with pytest.raises(UnsupportedModel, match=r"'a' has rows of 4000 bytes.*1024"):
        plan_windows([tensor("a", "F32", 2, 1000, 0)], 1024)
