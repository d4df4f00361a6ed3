"""Metrics as Prometheus would read them, and the access log, of an `up` of our own: values are known exactly."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from cluster.client import Client, text_content
from cluster.errors import InvalidRequest, NoVariant
from cluster.metrics import METRICS
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest
from protos.gemmacluster.v1.generation_pb2_grpc import GenerationServiceStub
from tests.e2e.span_collector import SpanCollector, span_collector
from tests.e2e.up_process import eventually, running_up
from tests.ports import free_port

CONFIG = """
gateway: {{port: {port}, metrics_port: {metrics_port}}}
logs: {{file: {log}}}
traces: {{endpoint: "{collector}"}}
variants:
  e2b: {{engine: echo, echo_delay_ms: 20}}
"""
SECRET = "xylophone-4711"
_WHERE = "metrics for Prometheus are at "
_REPORTED_S = 60.0  # Ray exports every ten seconds, Serve checks a replica's health as often


@dataclass(frozen=True)
class Observed:
    """Where a cluster says what it does."""

    address: str
    url: str
    log: Path
    collector: SpanCollector

    def samples(self, name: str, **labels: str) -> list[float]:
        """Values of the series of that name that have these labels."""
        with urllib.request.urlopen(self.url, timeout=10) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample.value for sample in found if labels.items() <= sample.labels.items()]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A cluster that answered two calls, refused two, and had one cancelled."""
    folder = tmp_path_factory.mktemp("observability")
    log, metrics_port = folder / "access.log", free_port()
    with span_collector() as (where, collector):
        config = CONFIG.format(port=free_port(), metrics_port=metrics_port, log=json.dumps(str(log)), collector=where)
        with running_up(folder, config) as process:
            url = process.wait_for(_WHERE).partition(_WHERE)[2].strip()
            assert url.endswith(f":{metrics_port}/metrics")
            with Client(process.address, timeout_s=60) as client:
                _call(client)
            yield Observed(process.address, url, log, collector)


def _call(client: Client) -> None:
    for _ in range(2):
        client.generate(f"{SECRET} one two three", max_output_tokens=8)
    with pytest.raises(InvalidRequest):
        client.generate(SECRET, max_output_tokens=-1)
    with pytest.raises(NoVariant):
        client.generate(SECRET * 100_000)
    stream = client.stream(f"{SECRET} count " * 100, max_output_tokens=500)
    next(stream)
    with suppress(grpc.RpcError):
        stream.close()
    time.sleep(0.5)


def _log(observed: Observed) -> list[dict[str, object]]:
    return [json.loads(line) for line in observed.log.read_text().splitlines()]


def test_the_access_log_has_every_call(observed: Observed) -> None:
    eventually(lambda: len(_log(observed)) == 5)
    statuses = [call["status"] for call in _log(observed)]
    assert statuses == ["OK", "OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "CANCELLED"]
    assert SECRET not in observed.log.read_text()


def test_calls_are_counted_by_how_they_ended(observed: Observed) -> None:
    name, status = "ray_gen_ai_server_request_duration_seconds_count", "rpc_response_status_code"
    ended = {"OK": 2.0, "INVALID_ARGUMENT": 1.0, "FAILED_PRECONDITION": 1.0, "CANCELLED": 1.0}
    eventually(lambda: all(observed.samples(name, **{status: code}) == [n] for code, n in ended.items()), _REPORTED_S)
    assert observed.samples("ray_gemma_cluster_rejected_requests_total", reason="NO_VARIANT") == [1.0]
    assert sum(observed.samples("ray_gemma_cluster_routing_decisions_total", gen_ai_response_model="e2b")) == 3.0
    assert observed.samples("ray_gen_ai_server_time_to_first_token_seconds_count") == [3.0]
    assert observed.samples("ray_gen_ai_server_time_per_output_token_seconds_count") == [2.0]


def test_tokens_are_those_of_the_log(observed: Observed) -> None:
    eventually(lambda: len(observed.samples("ray_gemma_cluster_output_tokens_total")) == 1, _REPORTED_S)
    for name in ("prompt_tokens", "output_tokens"):
        logged = sum(int(str(call[name])) for call in _log(observed))
        assert observed.samples(f"ray_gemma_cluster_{name}_total") == [logged]
    for kind in ("input", "output"):
        assert observed.samples("ray_gen_ai_client_token_usage_count", gen_ai_token_type=kind) == [2.0]


def test_every_metric_is_exported(observed: Observed) -> None:
    with Client(observed.address, timeout_s=60) as client:
        list(client.stream(SECRET, request_id="once", resumable=True, max_output_tokens=8))
        list(client.resume("once"))
    # A counter does not exist before it counts: the echo holds no KV cache to have a hit, Redis always answers, no
    # replica is lost, and there is one whatever the load.
    never = {"gemma_cluster_prefix_cache_hit_tokens", "gemma_cluster_uncounted_requests", "gemma_cluster_migrations"}
    never |= {f"gemma_cluster_{of_scaling}" for of_scaling in ("needed_replicas", "target_replicas", "scalings")}
    wanted = {
        f"{item.exported_name}_count" if item.buckets else item.exported_name
        for item in METRICS
        if item.name not in never
    }

    def missing() -> set[str]:
        return {series for series in wanted if not observed.samples(series)}

    with suppress(AssertionError):
        eventually(lambda: not missing(), _REPORTED_S)
    assert missing() == set()


def test_a_trace_goes_from_the_caller_to_decode(observed: Observed) -> None:
    trace, caller = bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), bytes.fromhex("b7ad6b7169203331")
    metadata = [("traceparent", f"00-{trace.hex()}-{caller.hex()}-01")]
    with grpc.insecure_channel(observed.address) as channel:
        request = GenerateRequest(contents=[text_content(SECRET)])
        GenerationServiceStub(channel).Generate(request, metadata=metadata, timeout=60)

    def spans() -> dict[str, Span]:
        return {span.name: span for span in list(observed.collector.spans) if span.trace_id == trace}

    eventually(lambda: {"Generate", "decode"} <= spans().keys())
    path, span = [], spans()["decode"]
    while True:
        path.append(span.name)
        above = [item for item in spans().values() if item.span_id == span.parent_span_id]
        if not above:
            break
        span = above[0]
    assert path == ["decode", "generate", "replica e2b", "Generate"]
    assert span.parent_span_id == caller
    assert SECRET not in str(observed.collector.spans)
