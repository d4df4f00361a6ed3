"""OpenTelemetry traces of requests, from the caller's context to the engine: off unless somebody is there to get them.

Names are those of OpenTelemetry's conventions for generative AI where there are some. No span holds what anybody says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cluster.errors import ClusterError

ENDPOINT, SAMPLER, SAMPLER_ARGUMENT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
Value = str | bool | int | float | Sequence[str]
_PROPAGATOR = TraceContextTextMapPropagator()
_SERVICE = "gemma-cluster"
# For a collector to take what is sent; whoever leaves waits no longer for one that is away.
_TIMEOUT_S = 1


class Tracing:
    """Of this process. Spans wait in a queue of bounded length for a thread that sends them; a full one drops."""

    def __init__(self) -> None:
        self.tracer: trace.Tracer = trace.NoOpTracer()
        self._provider: TracerProvider | None = None

    def start(self, exporter: SpanExporter) -> None:
        """Samples as the environment says (OTEL_TRACES_SAMPLER). Done twice, the first exporter stays."""
        if self._provider is None:
            self._provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}))
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            self.tracer = self._provider.get_tracer(_SERVICE)

    def stop(self) -> None:
        """Sends what is left, and turns tracing off."""
        if self._provider is not None:
            self._provider.shutdown()
        self._provider, self.tracer = None, trace.NoOpTracer()


_tracing = Tracing()


def start_tracing(exporter: SpanExporter | None = None) -> None:
    """Once in a process: over OTLP and gRPC to where OTEL_EXPORTER_OTLP_ENDPOINT says, if it does."""
    if exporter is not None or os.environ.get(ENDPOINT):
        _tracing.start(exporter or OTLPSpanExporter(timeout=_TIMEOUT_S))


def stop_tracing() -> None:
    """Before the process ends. Blocks while what is left is sent."""
    _tracing.stop()


@contextmanager
def server_span(name: str, metadata: Mapping[str, str]) -> Iterator[Span]:
    """Of one RPC, under the caller's span if its metadata names one (W3C Trace Context). The current one meanwhile."""
    parent = _PROPAGATOR.extract(metadata)
    span = _tracing.tracer.start_span(name, parent, SpanKind.SERVER)
    token = contexts.attach(trace.set_span_in_context(span, parent))
    try:
        yield span
    finally:
        contexts.detach(token)
        span.end()


@contextmanager
def span(name: str, traceparent: str = "", **attributes: Value) -> Iterator[Span]:
    """A part of the current span's work, or of one in another process, named by what `carried` gave there."""
    parent: Context | None = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
    started = _tracing.tracer.start_span(name, parent, attributes=_dotted(attributes))
    try:
        yield started
    except BaseException as error:
        failed(started, _reason(error))
        raise
    finally:
        started.end()


def failed(span: Span, reason: str) -> None:
    """Marks the span, by a reason that comes from a closed set."""
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR))


def carried(span: Span) -> str:
    """The span's W3C traceparent, for another process; empty while there is no tracing."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def _reason(error: BaseException) -> str:
    if isinstance(error, ClusterError):
        return error.reason
    return "CANCELLED" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else type(error).__name__


def _dotted(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Keywords have underscores where OpenTelemetry has dots: two of them for one."""
    return {name.replace("__", "."): value for name, value in attributes.items()}
