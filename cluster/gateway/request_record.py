"""What is known of a call once it has ended: its metrics and its line in the access log. Never what it says."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.trace import INVALID_SPAN, Span

from cluster import metrics
from cluster.admission.call import Call
from cluster.admission.ticket import Ticket
from cluster.errors import ClusterError
from cluster.gateway.access_log import log_access
from cluster.routing import Reason, RouteDecision
from cluster.tracing import failed, server_span
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaResult

# Of each RPC that generates: OpenTelemetry's gen_ai.operation.name.
_OPERATIONS = {"Generate": "generate_content", "StreamGenerate": "generate_content"}
# Addresses are few enough to try all; without the key nobody can tell them from their hashes.
_PEER_KEY = secrets.token_bytes(16)
_REFUSALS = frozenset(
    {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION}
)


@dataclass
class RequestRecord:
    """One call, filled in as it goes; `finish` records it. Nothing here is done for each token or message."""

    method: str
    peer: str = ""
    call: Call = field(default_factory=Call)
    arrived: float = field(default_factory=time.monotonic)
    request_id: str = ""
    variant: str = ""
    reasons: tuple[str, ...] = ()
    status: str = grpc.StatusCode.OK.name
    error: ClusterError | None = None
    prompt_tokens: Mapping[str, int] = field(default_factory=dict)
    cached_tokens: int = 0
    queue_s: float = 0.0
    first_token_s: float | None = None
    result: ReplicaResult | None = None
    ticket: Ticket | None = None
    span: Span = INVALID_SPAN

    def routed(self, decision: RouteDecision, prompt_tokens: Mapping[str, int]) -> None:
        """The variant that answers, and why it; `prompt_tokens` by modality."""
        self.variant, self.prompt_tokens = decision.variant, prompt_tokens
        # Those for the variants that could not take it anyway would hide the ones that decided.
        self.reasons = tuple(item.code for item in decision.reasons if _decided(item, decision))

    def queued(self, ticket: Ticket) -> None:
        """It may have to wait."""
        self.ticket = ticket

    def begun(self, queue_ms: float, cached_tokens: int) -> None:
        """The answer's first message is there."""
        self.first_token_s = time.monotonic() - self.arrived
        self.queue_s, self.cached_tokens = queue_ms / 1000, cached_tokens

    def failed(self, error: ClusterError) -> None:
        """The call ends with this error."""
        self.status, self.error = error.code.name, error

    def finish(self) -> None:
        """Records metrics, for calls that generate, and writes the access log."""
        duration_s = time.monotonic() - self.arrived
        if self.method in _OPERATIONS:
            self._record(_OPERATIONS[self.method], duration_s)
        self._describe()
        log_access(self._fields(duration_s))

    def _describe(self) -> None:
        """The span's attributes, by OpenTelemetry's conventions for generative AI and for RPCs."""
        known: dict[str, Any] = {
            "rpc.system": "grpc",
            "rpc.response.status_code": self.status,
            "gen_ai.response.id": self.request_id,
            "gen_ai.response.model": self.variant,
            "gen_ai.usage.input_tokens": sum(self.prompt_tokens.values()),
            "gen_ai.usage.output_tokens": self.result.output_tokens if self.result else 0,
            "gemma_cluster.routing_reasons": self.reasons,
        }
        self.span.set_attributes({name: value for name, value in known.items() if value})
        if self.status != grpc.StatusCode.OK.name:
            failed(self.span, self.error.reason if self.error else self.status)

    def _record(self, operation: str, duration_s: float) -> None:
        error = self.error.reason if self.error else "" if self.status == "OK" else self.status
        metrics.REQUEST_DURATION.record(duration_s, self.variant, operation, error, self.status)
        for reason in self.reasons:
            metrics.ROUTED.record(1, self.variant, reason)
        if self.first_token_s is not None:
            self._record_answer(operation, self.first_token_s, duration_s)
        elif self.error is not None and self.error.code in _REFUSALS:
            metrics.REJECTED.record(1, self.error.reason)

    def _record_answer(self, operation: str, first_token_s: float, duration_s: float) -> None:
        metrics.TIME_TO_FIRST_TOKEN.record(first_token_s, self.variant, operation)
        metrics.QUEUE_TIME.record(self.queue_s, self.variant)
        for modality, tokens in self.prompt_tokens.items():
            metrics.PROMPT_TOKENS.record(tokens, self.variant, modality)
        metrics.CACHED_TOKENS.record(self.cached_tokens, self.variant)
        if self.result is not None:
            self._record_whole(operation, self.result.output_tokens, duration_s - first_token_s)

    def _record_whole(self, operation: str, output: int, decode_s: float) -> None:
        for modality, tokens in self.prompt_tokens.items():
            if tokens:
                metrics.TOKEN_USAGE.record(tokens, self.variant, operation, "input", modality)
        metrics.TOKEN_USAGE.record(output, self.variant, operation, "output", "text")
        metrics.OUTPUT_TOKENS.record(output, self.variant)
        if output > 1:
            metrics.TIME_PER_OUTPUT_TOKEN.record(decode_s / (output - 1), self.variant, operation)

    def _fields(self, duration_s: float) -> dict[str, Any]:
        first = self.first_token_s
        return {
            "method": self.method,
            "request_id": self.request_id,
            "peer": self.peer,
            "status": self.status,
            "error": self.error.reason if self.error else "",
            "variant": self.variant,
            "reasons": list(self.reasons),
            "prompt_tokens": sum(self.prompt_tokens.values()),
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.result.output_tokens if self.result else 0,
            "queue_ms": round(self.queue_s * 1000, 3),
            "first_token_ms": None if first is None else round(first * 1000, 3),
            "duration_ms": round(duration_s * 1000, 3),
        }


_current: ContextVar[RequestRecord] = ContextVar("request_record")


def current_record() -> RequestRecord:
    """That of the call which this task answers; a fresh one, that nobody reads, outside of any."""
    return _current.get(None) or RequestRecord("")


@contextmanager
def recorded(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[RequestRecord]:
    """Around one call: its record, finished however the call ends."""
    call = Call.arriving(context.invocation_metadata(), context.peer(), context.time_remaining())
    with server_span(method, _texts(context.invocation_metadata())) as span:
        record = RequestRecord(method, _peer_hash(call.peer), call, span=span)
        _current.set(record)
        try:
            yield record
        except BaseException:
            # Errors are mapped to a status, and noted, further in; what else ends a call is its caller or its deadline.
            if record.error is None:
                record.status = _end_status(context).name
            raise
        finally:
            record.finish()


def _texts(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _decided(reason: Reason, decision: RouteDecision) -> bool:
    return reason.variant in decision.candidates or reason.code == "SESSION_REPINNED"


def _end_status(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    remaining = context.time_remaining()
    is_over = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_over else grpc.StatusCode.CANCELLED


def _peer_hash(peer: str) -> str:
    """The caller's host, without its port, as a hash that holds as long as this process."""
    host = peer.rpartition(":")[0]
    return hashlib.blake2s(host.encode(), key=_PEER_KEY, digest_size=8).hexdigest()
