"""Stop strings across chunk borders."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm.text.stops import StopMatcher


def run(stops, pieces):
    matcher = StopMatcher(stops)
    deltas = []
    for piece in pieces:
        text, stopped = matcher.feed(piece)
        deltas.append(text)
        if stopped:
            return deltas, matcher.found
    return [*deltas, matcher.flush()], None


def test_without_stops_everything_passes_at_once():
    assert run([], ["a", "", "b"]) == (["a", "", "b", ""], None)


def test_a_stop_over_three_chunks_is_never_shown():
    assert run(["STOP"], ["one S", "TO", "P two"]) == (["one ", "", ""], "STOP")


def test_what_cannot_become_a_stop_any_more_is_let_go():
    assert run(["STOP"], ["ST", "ST", "AY"]) == (["", "ST", "STAY", ""], None)


def test_only_as_much_is_kept_back_as_could_become_a_stop():
    matcher = StopMatcher(["\n\nUser:", "###"])
    assert matcher.feed("answer\n") == ("answer", False)
    assert matcher.feed("\n") == ("", False)
    assert matcher.feed("\n") == ("\n", False)
    assert matcher.feed("#") == ("\n\n", False)
    assert matcher.flush() == "#"


def test_of_two_stops_the_one_complete_first_counts_the_longer_where_they_end_together():
    assert run(["abcd", "bc"], ["abcd"]) == (["a"], "bc")
    assert run(["bc", "abc"], ["xabcd"]) == (["x"], "abc")


def test_after_a_stop_nothing_passes():
    matcher = StopMatcher(["x"])
    assert matcher.feed("axb") == ("a", True)
    assert matcher.feed("more") == ("", True)
    assert matcher.flush() == ""


def test_a_stop_that_begins_like_itself():
    assert run(["aab"], ["a", "a", "a", "b", "c"]) == (["", "", "a", ""], "aab")


def test_an_empty_stop_is_refused():
    with pytest.raises(ValueError, match="at least one character"):
        StopMatcher(["a", ""])


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.text("abc", max_size=20),
    st.lists(st.integers(0, 20), max_size=8),
)
def test_the_outcome_does_not_depend_on_the_cuts(stops, text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    deltas, found = run(stops, [text[a:b] for a, b in pairwise(edges)])
    whole, expected = run(stops, list(text))
    assert ("".join(deltas), found) == ("".join(whole), expected)
    shown = "".join(deltas)
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    assert shown == (text[: min(ends) - len(found)] if found else text)
    assert not any(stop in shown for stop in stops)
