"""What drafts would have been worth, against the reference that the kernel is held against too."""

import numpy as np
import pytest

from local_llm.generate.foresight import Foresight
from local_llm.generate.speculation import TOKENS, Speculation, answers_of
from tests.reference import drafting as reference


@pytest.mark.parametrize("symbols", [2, 4, 30])
@pytest.mark.parametrize("known", [1, 2, 3, 20])
def test_it_drafts_what_the_gpu_would(symbols, known):
    ids = np.random.default_rng([symbols, known]).integers(0, symbols, 60).tolist()
    foresight = Foresight(ids[:known], 3)
    for count in range(known, len(ids)):
        assert foresight._draft() == reference.draft(ids[:count], 3)
        foresight.saw([ids[count]])


def test_what_is_expected_follows_the_text():
    pattern, rng = list(range(10)) * 3, np.random.default_rng(1)
    foresight = Foresight(pattern, 3)
    assert foresight.expected == 1
    foresight.saw(pattern * 4)
    assert 3.5 < foresight.expected <= 4
    foresight.saw(rng.integers(100, 9000, 100).tolist())
    assert 1 <= foresight.expected < 1.01


def test_a_first_token_does_not_wait_for_the_prompt_to_be_looked_through():
    foresight = Foresight([1, 2, 3, 1, 2], 3)
    assert (foresight.expected, "_places" in vars(foresight)) == (1.0, False)
    foresight.saw([3])
    assert "_places" in vars(foresight)


def test_a_long_prompt_is_looked_through_at_its_end():
    ids = [*range(40000), 1, 2]
    assert Foresight(ids, 3)._draft() == []
    ids = [*range(40000), 39000, 39001]
    assert Foresight(ids, 3)._draft() == [39002, 39003, 39004]


def test_steps_of_drafts_begin_where_they_gain_clearly_and_end_where_they_do_not_gain():
    speculation = Speculation.__new__(Speculation)  # what is asked here needs no model
    speculation.seconds = None
    assert not speculation.pays(1.3, 0.001, False)
    assert speculation.pays(1.6, 0.001, False)
    speculation.seconds = 0.002
    assert not speculation.pays(2.2, 0.001, False)
    assert speculation.pays(2.2, 0.001, True)
    assert not speculation.pays(2.0, 0.001, True)
    speculation.seconds = 0.005
    assert not speculation.pays(TOKENS, 0.001, False)


def test_answers_are_read_row_by_row():
    rows = np.array([[2, 7, 8, 0, 0], [0, 7, 8, 9, 9], [4, 1, 2, 3, 4]], "<u4")
    assert answers_of(rows.tobytes()) == [[7, 8], [], [1, 2, 3, 4]]
