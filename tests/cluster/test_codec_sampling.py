"""Sampling in the codec: the ends of every range, each violation by its field, and whatever else a message can hold."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codec.sampling import parse_sampling
from cluster.codec.violations import Violations
from cluster.errors import InvalidRequest
from cluster.request import SamplingOverrides
from protos.gemmacluster.v1.generation_pb2 import GenerationConfig

NAN, INF = math.nan, math.inf


def problems(**config: Any) -> dict[str, str]:
    violations = Violations()
    parse_sampling(GenerationConfig(**config), violations)
    try:
        violations.raise_any()
    except InvalidRequest as error:
        return {item.field.removeprefix("generation_config."): item.description for item in error.violations}
    return {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("min_p", [-0.01, 1.01, NAN, INF]),
        ("repetition_penalty", [0.0, -1.0, 10.1, NAN, INF]),
        ("presence_penalty", [-2.1, 2.1, NAN, -INF]),
        ("frequency_penalty", [-2.1, 2.1, NAN, INF]),
        ("logprobs", [-1, 21]),
    ],
)
def test_a_number_out_of_range_is_named_with_its_rule(name: str, values: list[float]) -> None:
    for value in values:
        found = problems(**{name: value})
        assert list(found) == [name]
        assert found[name].startswith("must be ")
        assert found[name].endswith(f"not {value:g}")


def test_a_bias_that_is_no_number_in_range_is_named_by_its_token() -> None:
    found = problems(logit_bias={-1: 1.0, 2: NAN, 3: 100.5, 4: -INF, 5: 100.0, 6: -100.0})
    assert list(found) == ["logit_bias[-1]", "logit_bias[2]", "logit_bias[3]", "logit_bias[4]"]
    assert list(problems(logit_bias=dict.fromkeys(range(1025), 1.0))) == ["logit_bias"]
    assert problems(logit_bias=dict.fromkeys(range(1024), 1.0)) == {}


def test_the_ends_of_the_ranges_are_taken() -> None:
    for low in (True, False):
        config = {
            "min_p": 0.0 if low else 1.0,
            "repetition_penalty": 0.0625 if low else 10.0,
            "presence_penalty": -2.0 if low else 2.0,
            "frequency_penalty": -2.0 if low else 2.0,
            "logit_bias": {0: -100.0 if low else 100.0},
            "logprobs": 0 if low else 20,
        }
        violations = Violations()
        assert parse_sampling(GenerationConfig(**config), violations) == SamplingOverrides(**config)
        assert not violations


def test_what_is_not_said_stays_unsaid() -> None:
    assert parse_sampling(GenerationConfig(), Violations()) == SamplingOverrides()


FLOATS = st.none() | st.floats(width=32) | st.floats(-3, 3, width=32)
INTS = st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 25)


@given(
    floats=st.fixed_dictionaries(
        dict.fromkeys(
            ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"), FLOATS
        )
    ),
    ints=st.fixed_dictionaries(dict.fromkeys(("max_output_tokens", "top_k", "logprobs"), INTS)),
    bias=st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.floats(width=32), max_size=5),
)
def test_any_numbers_are_taken_as_they_are_or_refused_by_name(
    floats: dict[str, Any], ints: dict[str, Any], bias: dict[int, float]
) -> None:
    config = GenerationConfig(**floats, **ints, logit_bias=bias)
    found = problems(**floats, **ints, logit_bias=bias)
    assert all(name.partition("[")[0] in {*floats, *ints, "logit_bias"} for name in found)
    if not found:
        parsed = parse_sampling(config, Violations())
        assert {name: getattr(parsed, name) for name in (*floats, *ints)} == {**floats, **ints}
        assert parsed.logit_bias == bias
