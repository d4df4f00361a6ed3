"""A runtime's token outputs as those of an engine, with its errors as callers see them."""

from __future__ import annotations

from cluster.engines.base import EngineOutput, EngineRequest, FinishReason
from cluster.engines.constraints import refusal
from cluster.errors import ClusterError, ReplicaLost
from model.constraint import ConstraintError
from model.runtime.gang import GangError
from model.runtime.output import TokenOutput

_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def stopped() -> ReplicaLost:
    """What a request gets whose engine is stopped."""
    return ReplicaLost("the engine was stopped while it answered")


def engine_output(output: TokenOutput, request: EngineRequest) -> EngineOutput:
    """The same output. Raises what ended the request, if it did not end by itself."""
    if isinstance(output.error, ConstraintError):
        raise refusal(request.sampling.response_format, output.error) from output.error
    if isinstance(output.error, GangError):
        raise ReplicaLost("a shard of the replica that answered was lost") from output.error
    if output.error is not None:
        raise ClusterError(f"the engine failed on this request: {output.error}") from output.error
    if output.finish_reason == "abort":
        raise stopped()
    reason = _FINISH_REASONS[output.finish_reason] if output.finish_reason else None
    return EngineOutput(
        output.pieces,
        len(output.token_ids),
        reason,
        cached_tokens=output.cached_tokens,
        logprobs=output.logprobs,
        thought_tokens=output.thought_tokens,
        token_ids=output.token_ids,
    )
