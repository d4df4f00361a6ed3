"""Answers that another replica began: what vLLM is given of them is a longer prompt."""

from __future__ import annotations

from dataclasses import replace

from cluster.engines.base import EngineRequest
from cluster.errors import NotSupported
from model.runtime.sampling import SamplingParams


def remaining_sampling(request: EngineRequest) -> SamplingParams:
    """The sampling of what is left of the answer. Raises NotSupported where vLLM would treat a prompt otherwise.

    Its grammars and its random numbers begin with the answer, and its presence and frequency penalties leave the
    prompt out. Its repetition penalty counts both.
    """
    sampling, answered = request.sampling, len(request.answered_token_ids)
    if not answered:
        return sampling
    problems = {
        "response_format": sampling.response_format is not None,
        "presence_penalty": sampling.presence_penalty != 0,
        "frequency_penalty": sampling.frequency_penalty != 0,
        "seed": sampling.seed is not None and not sampling.is_greedy,
    }
    if found := [name for name, is_asked in problems.items() if is_asked]:
        raise NotSupported(f"vLLM cannot go on with an answer that has {', '.join(found)}")
    return replace(sampling, max_tokens=sampling.max_tokens - answered)
