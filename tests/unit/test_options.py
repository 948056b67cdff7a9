import pytest

from local_llm.errors import InvalidRequest
from local_llm.generate.sampler import DEFAULT_MAX_TOKENS, read_options


def test_defaults_are_greedy():
    options = read_options({})
    assert options.max_tokens == DEFAULT_MAX_TOKENS
    assert options.sampling.temperature == 0.0
    assert options.stop == ()
    assert 0 <= options.seed < 1 << 32


def test_values_are_taken_over():
    given = {"temperature": 0.7, "top_k": 40.0, "top_p": 0.9, "seed": 7, "stop": "END", "max_tokens": 5, "min_p": None}
    options = read_options(given)
    assert (options.sampling.temperature, options.sampling.top_k, options.sampling.top_p) == (0.7, 40, 0.9)
    assert (options.seed, options.stop, options.max_tokens) == (7, ("END",), 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("temperature", True),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("seed", -1),
        ("seed", 1 << 32),
        ("stop", ""),
        ("stop", [""]),
        ("stop", 3),
        ("when_full", "never"),
        ("speculative", True),
        ("speculative", "on"),
        ("speculative", ["off"]),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(InvalidRequest, match=name):
        read_options({name: value})


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"Unknown option 'temprature'.*temperature"):
        read_options({"temprature": 1})
