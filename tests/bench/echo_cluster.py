"""A gateway over echo variants on a Ray of its own, for benchmarks of all but the model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import ray
from ray import serve

from cluster.app import APP_NAME, build
from cluster.config import ClusterConfig, GatewayConfig, SessionsConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.ports import free_port


@contextmanager
def echo_cluster(variants: dict[str, VariantConfig], max_concurrent_requests: int = 1024) -> Iterator[str]:
    """The gateway's address. Every variant's checkpoint is tiny:e2b's tokenizer."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    port = free_port()
    with EmbeddedValkey() as valkey:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
        config = ClusterConfig(
            family="tiny",
            gateway=GatewayConfig(port=port, max_concurrent_requests=max_concurrent_requests),
            sessions=SessionsConfig(redis_url=valkey.url),
            variants=variants,
        )
        try:
            serve.run(build(config, APP_NAME), name=APP_NAME, route_prefix=None)
            yield f"127.0.0.1:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()


def running(address: str) -> list[int]:
    """Requests that each replica runs now, of those that answer."""
    with grpc.insecure_channel(address) as channel:
        loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=20).loads
    return [load.running_requests for load in loads]


def wait_until(check: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Raises AssertionError when it does not come true; calls that fail meanwhile are made again."""
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at:
        try:
            if check():
                return
        except grpc.RpcError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not within {timeout_s:g} s")
