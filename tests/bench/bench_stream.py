"""Streamed tokens per second against Ray Serve's own gRPC proxy: echo engine, 16 concurrent streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve
from ray.serve.config import gRPCOptions

from cluster.app import build
from cluster.config import ClusterConfig, GatewayConfig, SessionsConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from tests.bench.figure import Figure
from tests.bench.serve_proxy import EchoIngress, EchoReplica
from tests.ports import free_port

STREAMS, TOKENS, ROUNDS, REPEATS = 16, 512, 3, 3
ADD_SERVICER = "protos.gemmacluster.v1.generation_pb2_grpc.add_GenerationServiceServicer_to_server"


def run() -> Iterator[Figure]:
    """The sides take turns, so that noise hits all. The proxy's app is built as ours is: ingress, then replica by
    handle; the echo straight behind the proxy, with nothing to route between, is printed for comparison."""
    proxy_port, gateway_port = free_port(), free_port()
    with _both(proxy_port, gateway_port):
        sides = {
            "proxy": (proxy_port, 0, "baseline"),
            "proxy, no ingress": (proxy_port, 0, "direct"),
            "one": (gateway_port, 1, ""),
            "packed": (gateway_port, 0, ""),
        }
        best = dict.fromkeys(sides, 0.0)
        for _ in range(REPEATS):
            for side, (port, per_message, app) in sides.items():
                sample = _load(port, per_message, app)
                print(f"  {side}: " + ", ".join(f"{key} {value:,.1f}" for key, value in sample.items()), flush=True)
                best[side] = max(best[side], sample["tokens_per_s"])
    yield Figure("stream_vs_serve_proxy_one_token_per_message", best["one"] / best["proxy"], ">=", 6)
    yield Figure("stream_vs_serve_proxy_packed", best["packed"] / best["proxy"], ">=", 15)


def _load(port: int, per_message: int, app: str) -> dict[str, float]:
    numbers = [str(value) for value in (STREAMS, TOKENS, ROUNDS, per_message)]
    command = [sys.executable, "-m", "tests.bench.stream_load", f"127.0.0.1:{port}", *numbers, app]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return dict(json.loads(output))


@contextmanager
def _both(proxy_port: int, gateway_port: int) -> Iterator[None]:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with EmbeddedValkey() as valkey:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
        grpc_options = gRPCOptions(port=proxy_port, grpc_servicer_functions=[ADD_SERVICER])
        serve.start(proxy_location="HeadOnly", http_options={"port": free_port()}, grpc_options=grpc_options)
        config = ClusterConfig(
            family="tiny",
            gateway=GatewayConfig(port=gateway_port),
            sessions=SessionsConfig(redis_url=valkey.url),
            variants={"e2b": VariantConfig(engine="echo", max_batch_size=64)},
        )
        try:
            serve.run(build(config, "ours"), name="ours", route_prefix=None)
            replica = EchoReplica.bind("tiny:e2b")
            serve.run(EchoIngress.bind(replica), name="baseline", route_prefix="/baseline")
            serve.run(EchoReplica.bind("tiny:e2b"), name="direct", route_prefix="/direct")
            yield
        finally:
            serve.shutdown()
            ray.shutdown()
