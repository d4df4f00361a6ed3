"""The trace of a request, from the caller's context to decode, through the gateway and a real replica."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cluster.client import Client, text_content
from cluster.errors import NoVariant
from cluster.tracing import start_tracing, stop_tracing
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest
from protos.gemmacluster.v1.generation_pb2_grpc import GenerationServiceStub
from tests.cluster.gateway.local_gateway import LocalGateway
from tests.cluster.gateway.test_tool_calls import options_of
from tests.cluster.taught_answers import HELLO

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    start_tracing(exporter)
    yield exporter
    stop_tracing()


def _finished(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    stop_tracing()
    return {span.name: span for span in spans.get_finished_spans()}


def _parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def test_a_request_is_part_of_its_callers_trace(taught_gateway: LocalGateway, spans: InMemorySpanExporter) -> None:
    request = GenerateRequest(contents=[text_content("hello")])
    with grpc.insecure_channel(taught_gateway.address) as channel:
        GenerationServiceStub(channel).Generate(request, metadata=[("traceparent", f"00-{TRACE}-{CALLER}-01")])
    found = _finished(spans)
    server = found["Generate"]
    assert {f"{span.context.trace_id:032x}" for span in found.values() if span.context} == {TRACE}
    assert _parent(server) == int(CALLER, 16)
    assert server.context is not None
    assert {name for name, span in found.items() if _parent(span) == server.context.span_id} == {
        "route",
        "admit",
        "generate",
    }


def test_nothing_that_was_said_is_in_it(taught_gateway: LocalGateway, spans: InMemorySpanExporter) -> None:
    with Client(taught_gateway.address, timeout_s=30) as client:
        answer = client.generate(HELLO.contents, **options_of(HELLO))
    found = _finished(spans)
    assert found["Generate"].attributes is not None
    assert found["Generate"].attributes["gen_ai.usage.output_tokens"] == answer.usage.output_tokens
    assert [part.text.strip() for part in answer.content.parts] == ["Hm, a greeting.", "Hello there"]
    told = [span.to_json() for span in found.values()]
    assert not any(said in text for text in told for said in ("Hello", "greeting"))


def test_phases_add_up_to_the_answer(taught_gateway: LocalGateway, spans: InMemorySpanExporter) -> None:
    with Client(taught_gateway.address, timeout_s=30) as client:
        answer = client.generate("Hello?", max_output_tokens=12)
    found = _finished(spans)
    whole, prefill, decode = found["generate"], found["prefill"], found["decode"]
    assert whole.context is not None
    assert _parent(prefill) == _parent(decode) == whole.context.span_id
    assert prefill.end_time is not None
    assert decode.start_time is not None
    assert prefill.end_time <= decode.start_time
    assert whole.attributes is not None
    assert whole.attributes["gen_ai.usage.output_tokens"] == answer.usage.output_tokens
    assert whole.attributes["gen_ai.usage.input_tokens"] == answer.usage.prompt_tokens


def test_an_error_is_named_by_its_reason(taught_gateway: LocalGateway, spans: InMemorySpanExporter) -> None:
    with Client(taught_gateway.address, timeout_s=30) as client:
        with pytest.raises(NoVariant):
            client.generate("x " * 50_000)
        # The error is at the caller before the span ends; by the answer to another call it has ended.
        client.count_tokens("hello")
    server = _finished(spans)["Generate"]
    assert server.status.status_code == StatusCode.ERROR
    assert server.attributes is not None
    assert server.attributes["error.type"] == NoVariant.reason


def test_without_an_exporter_there_are_no_spans(taught_gateway: LocalGateway) -> None:
    with Client(taught_gateway.address, timeout_s=30) as client:
        assert client.generate("hello").usage.output_tokens > 0
