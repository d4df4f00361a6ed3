"""Our own records as public messages."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.admission.standing import Standing
from cluster.capabilities import Capabilities
from cluster.prompt import Prompt
from cluster.routing import RouteDecision
from cluster.sessions.store import SessionRecord
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaResult
from protos.gemmacluster.v1 import content_pb2, generation_pb2, model_pb2, session_pb2

_MODALITIES = {
    "text": content_pb2.MODALITY_TEXT,
    "image": content_pb2.MODALITY_IMAGE,
    "audio": content_pb2.MODALITY_AUDIO,
    "video": content_pb2.MODALITY_VIDEO,
}


def routing_info(decision: RouteDecision, *, queue_ms: float = 0.0) -> generation_pb2.RoutingInfo:
    """Where a request went, and why."""
    reasons = [
        generation_pb2.RoutingReason(code=reason.code, variant=reason.variant, message=reason.message)
        for reason in decision.reasons
    ]
    return generation_pb2.RoutingInfo(
        variant=decision.variant, reasons=reasons, queue_ms=queue_ms, candidates=decision.candidates
    )


def modality_tokens(tokens: Mapping[str, int]) -> list[content_pb2.ModalityTokens]:
    """Tokens by modality, those without any left out."""
    return [
        content_pb2.ModalityTokens(modality=_MODALITIES[name], tokens=count) for name, count in tokens.items() if count
    ]


def usage(prompt: Prompt, result: ReplicaResult) -> generation_pb2.Usage:
    """Tokens spent on an answer."""
    return generation_pb2.Usage(
        prompt_tokens=len(prompt.token_ids),
        prompt_tokens_by_modality=modality_tokens(prompt.tokens_by_modality),
        output_tokens=result.output_tokens,
        thought_tokens=result.thought_tokens,
        cached_tokens=result.cached_tokens,
        migrations=result.migrations,
    )


def queue_status(variant: str, standing: Standing, waited_s: float) -> generation_pb2.QueueStatus:
    """How a request stands that waits."""
    reasons = generation_pb2.QUEUE_REASON_BUSY, generation_pb2.QUEUE_REASON_STARTING
    return generation_pb2.QueueStatus(
        variant=variant,
        reason=reasons[standing.is_starting],
        requests_ahead=standing.ahead,
        waited_ms=waited_s * 1000,
        wait_ms=None if standing.wait_s is None else standing.wait_s * 1000,
    )


def session_state(record: SessionRecord) -> generation_pb2.SessionState:
    """What a caller needs to go on with a session."""
    return generation_pb2.SessionState(session_id=record.session_id, etag=record.etag, turns=record.turns)


def session(record: SessionRecord) -> session_pb2.Session:
    """A session without its contents."""
    message = session_pb2.Session(
        session_id=record.session_id,
        etag=record.etag,
        turns=record.turns,
        variant_pin=record.variant_pin or "",
        system_instruction=record.system_instruction,
    )
    message.create_time.FromMilliseconds(int(record.created_at * 1000))
    message.update_time.FromMilliseconds(int(record.updated_at * 1000))
    message.expire_time.FromMilliseconds(int(record.expires_at * 1000))
    message.ttl.FromNanoseconds(round(record.ttl_s * 1000) * 1_000_000)  # Redis keeps milliseconds
    return message


def model(capabilities: Capabilities, replicas: model_pb2.ReplicaCounts) -> model_pb2.Model:
    """A variant and what it can do."""
    return model_pb2.Model(
        name=capabilities.name,
        display_name=capabilities.display_name,
        checkpoint=capabilities.checkpoint,
        engine=capabilities.engine,
        input_modalities=[number for name, number in _MODALITIES.items() if name in capabilities.modalities],
        context_tokens=capabilities.context_tokens,
        max_output_tokens=capabilities.max_output_tokens,
        total_parameters=capabilities.total_parameters,
        active_parameters=capabilities.active_parameters,
        cost=capabilities.cost,
        replicas=replicas,
    )
