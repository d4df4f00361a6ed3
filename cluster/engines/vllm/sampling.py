"""Sampling parameters of a request as vLLM's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from model.runtime.sampling import SamplingParams


def vllm_sampling(params: SamplingParams, end_ids: Collection[int], grammar: str | None) -> Any:
    """vLLM applies them in the order that ours are documented in.

    Ends are left to token ids: text, thoughts, calls and stop strings are read from the ids that it returns.
    """
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
    from vllm.sampling_params import SamplingParams as VllmSamplingParams

    return VllmSamplingParams(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_k=params.top_k or 0,
        top_p=1.0 if params.top_p is None else params.top_p,
        min_p=params.min_p,
        seed=params.seed,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=dict(params.logit_bias) or None,
        logprobs=params.logprobs,
        structured_outputs=None if grammar is None else StructuredOutputsParams(grammar=grammar),
        ignore_eos=True,
        stop_token_ids=sorted(end_ids),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
