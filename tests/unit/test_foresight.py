"""What drafts would have been worth, against the reference that the kernel is held against too."""

import numpy as np
import pytest

from local_llm.generate.foresight import Foresight
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


def test_a_long_prompt_is_looked_through_at_its_end():
    ids = [*range(40000), 1, 2]
    assert Foresight(ids, 3)._draft() == []
    ids = [*range(40000), 39000, 39001]
    assert Foresight(ids, 3)._draft() == [39002, 39003, 39004]
