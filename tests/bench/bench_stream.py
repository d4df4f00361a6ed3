"""Streamed tokens per second against Ray Serve's own gRPC proxy and against a bare proxy of bytes: echo engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import ray
from ray import serve
from ray.serve.config import gRPCOptions

from cluster.app import GRPC_EXPERIMENTS, build
from cluster.config import ClusterConfig, GatewayConfig, SessionsConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from tests.bench.figure import Figure
from tests.bench.serve_proxy import EchoIngress, EchoReplica
from tests.ports import free_port

ADD_SERVICER = "protos.gemmacluster.v1.generation_pb2_grpc.add_GenerationServiceServicer_to_server"


@dataclass(frozen=True)
class Size:
    """How much is streamed: `rounds` times, `repeats` times over, so many streams of so many tokens at once."""

    streams: int
    tokens: int
    rounds: int
    repeats: int


FEW, MANY = Size(16, 512, 3, 3), Size(256, 64, 1, 2)


@dataclass(frozen=True)
class Side:
    """Where a load goes, how many tokens are in a message (0: as many as are ready), and Serve's name of the app."""

    port: int
    tokens_per_message: int = 1
    app: str = ""


def run() -> Iterator[Figure]:
    """The sides take turns, so that noise hits all. Serve's app is built as ours is: ingress, then replica by handle;
    the echo straight behind Serve's proxy, with nothing to route between, is printed for comparison."""
    with _all_sides() as sides:
        for size in (FEW, MANY):
            best, streams = _best(sides, size), f"{size.streams}_streams"
            yield Figure(f"stream_vs_serve_proxy_{streams}", best["one"] / best["proxy"], ">=", 8)
            yield Figure(f"stream_vs_bare_byte_proxy_{streams}", best["one"] / best["bare"], ">=", 0.6)
            if size is FEW:
                yield Figure("stream_vs_serve_proxy_packed", best["packed"] / best["proxy"], ">=", 30)


def _best(sides: dict[str, Side], size: Size) -> dict[str, float]:
    """Tokens per second of each side."""
    best = dict.fromkeys(sides, 0.0)
    for _ in range(size.repeats):
        for name, side in sides.items():
            sample = _load(side, size)
            values = ", ".join(f"{key} {value:,.1f}" for key, value in sample.items())
            print(f"  {size.streams} streams, {name}: {values}", flush=True)
            best[name] = max(best[name], sample["tokens_per_s"])
    return best


def _load(side: Side, size: Size) -> dict[str, float]:
    numbers = [str(value) for value in (size.streams, size.tokens, size.rounds, side.tokens_per_message)]
    command = [sys.executable, "-m", "tests.bench.stream_load", f"127.0.0.1:{side.port}", *numbers, side.app]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return dict(json.loads(output))


@contextmanager
def _all_sides() -> Iterator[dict[str, Side]]:
    serve_port, gateway_port, source_port, bare_port = (free_port() for _ in range(4))
    with ExitStack() as stack:
        stack.enter_context(_serve_and_ours(serve_port, gateway_port))
        stack.enter_context(_bare("source", source_port))
        stack.enter_context(_bare("proxy", bare_port, f"127.0.0.1:{source_port}"))
        yield {
            "proxy": Side(serve_port, app="baseline"),
            "proxy, no ingress": Side(serve_port, app="direct"),
            "bare": Side(bare_port),
            "one": Side(gateway_port),
            "packed": Side(gateway_port, tokens_per_message=0),
        }


@contextmanager
def _bare(side: str, port: int, *address: str) -> Iterator[None]:
    """With gRPC set up as ours is: what is compared is what a gateway does."""
    command = [sys.executable, "-m", "tests.bench.byte_proxy", side, str(port), *address]
    environment = os.environ | {"GRPC_EXPERIMENTS": GRPC_EXPERIMENTS}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        # On the way out both pipes are closed, and it ends.
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"the {side} did not start"
        yield


@contextmanager
def _serve_and_ours(serve_port: int, gateway_port: int) -> Iterator[None]:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with EmbeddedValkey() as valkey:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
        grpc_options = gRPCOptions(port=serve_port, grpc_servicer_functions=[ADD_SERVICER])
        serve.start(proxy_location="HeadOnly", http_options={"port": free_port()}, grpc_options=grpc_options)
        config = ClusterConfig(
            family="tiny",
            gateway=GatewayConfig(port=gateway_port),
            sessions=SessionsConfig(redis_url=valkey.url),
            variants={"e2b": VariantConfig(engine="echo", max_batch_size=MANY.streams)},
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
