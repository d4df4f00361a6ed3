"""Sampling parameters are checked when they are made."""

import math
from typing import Any

import pytest

from model.runtime.sampling import SamplingParams


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("stop", ("",)),
        ("stop", "abc"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        SamplingParams(**{"max_tokens": 1} | {name: value})


def test_the_extremes_that_make_sense_are_accepted() -> None:
    params = SamplingParams(1, temperature=0, top_k=1, top_p=1.0, seed=-5, stop=("a", "b"))
    assert params.is_greedy
    assert not params.is_cut
    assert SamplingParams(1, top_k=1).is_cut
    assert not SamplingParams(1, top_p=1.0).is_cut
