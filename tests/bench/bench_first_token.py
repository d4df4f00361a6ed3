"""What the gateway adds to the time to the first token, over a direct call of the replica, at half load.

Half load is half the requests per second that the gateway answers when eight callers ask as fast as they can. Both
sides get as many, by the same client; the direct call goes to the replica's own server, with nothing in between.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from ray import serve

from cluster.app import APP_NAME
from cluster.config import VariantConfig
from tests.bench.echo_cluster import echo_cluster
from tests.bench.figure import Figure

SECONDS, ROUNDS = 5.0, 3


def run() -> Iterator[Figure]:
    """The best of the rounds, in which the sides take turns: other processes only ever slow one down."""
    with echo_cluster({"e2b": VariantConfig(engine="echo", max_batch_size=256)}) as gateway:
        replica = _replica_address()
        rate = _load("gateway", gateway, 0)["per_s"] / 2
        added = [_added(gateway, replica, rate) for _ in range(ROUNDS)]
    yield Figure("first_token_added_p50_ms", min(p50 for p50, _ in added), "<=", 2)
    yield Figure("first_token_added_p99_ms", min(p99 for _, p99 in added), "<=", 15)


def _added(gateway: str, replica: str, rate: float) -> tuple[float, float]:
    """Milliseconds at the median, and at the 99th percentile."""
    through, direct = (_load(side, at, rate)["first_s"] for side, at in (("gateway", gateway), ("replica", replica)))
    p50, p99 = ([1000 * _quantile(side, share) for side in (through, direct)] for share in (0.5, 0.99))
    print(
        f"  {rate:.0f} requests/s: p50 {p50[0]:.1f} ms, direct {p50[1]:.1f}; p99 {p99[0]:.1f} ms, direct {p99[1]:.1f}",
        flush=True,
    )
    return p50[0] - p50[1], p99[0] - p99[1]


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def _load(side: str, address: str, rate: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.first_token_load", side, address, str(rate), str(SECONDS)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return dict(json.loads(output.splitlines()[-1]))


def _replica_address() -> str:
    """Where the only replica's server for other deployments is; Serve tells nobody but its own routers."""
    handle: Any = serve.get_deployment_handle("e2b", APP_NAME).options(_by_reference=False)
    handle.load.remote().result()
    [replica] = handle._router._asyncio_router._request_router.curr_replicas.values()
    return f"{replica._replica_info.node_ip}:{replica._replica_info.port}"
