"""What vLLM goes on with of another replica's answer, and what it says it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.engines.base import EngineRequest
from cluster.engines.vllm.continuation import remaining_sampling
from cluster.errors import NotSupported
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams

INEXACT: list[dict[str, Any]] = [
    {"response_format": ResponseFormat("json_object")},
    {"presence_penalty": 0.1},
    {"frequency_penalty": -0.1},
    {"seed": 0},
]


def _remaining(answered: tuple[int, ...], **options: Any) -> SamplingParams:
    return remaining_sampling(EngineRequest("r", [1, 2], SamplingParams(9, **options), (), answered))


@pytest.mark.parametrize("options", INEXACT, ids=lambda options: next(iter(options)))
def test_what_would_come_out_otherwise_is_refused_by_name(options: dict[str, Any]) -> None:
    assert _remaining((), **options) == SamplingParams(9, **options)
    with pytest.raises(NotSupported, match=next(iter(options))):
        _remaining((5, 6), **options)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0, "seed": 3}, {"repetition_penalty": 2.0, "logprobs": 1}])
def test_the_rest_has_as_many_tokens_less(options: dict[str, Any]) -> None:
    assert _remaining((5, 6), **options) == SamplingParams(7, **options)
