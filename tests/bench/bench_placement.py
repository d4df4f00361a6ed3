"""What it costs to choose variant and replica for a prompt of 32k tokens, tokenised already, among 4 variants and 16
replicas that hold some of it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from cluster.capabilities import Capabilities
from cluster.config import VARIANT_NAMES, RoutingPolicy
from cluster.placement.choice import Candidate, choose
from cluster.placement.index import PrefixIndex
from cluster.placement.placement import Placement
from cluster.placement.prefix import boundary_bytes
from cluster.routing import RouteRequest, VariantLoad, choose_variant
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest
from tests.bench.figure import Figure

TOKENS, REPLICAS, ROUNDS = 32_768, 16, 2000
VARIANTS = [
    Capabilities(name, name, name, "native", frozenset({"text"}), 131_072, 8192, 10**9, 10**9, cost, 262_144)
    for cost, name in enumerate(VARIANT_NAMES)
]
POLICY = RoutingPolicy()
LOADS = dict.fromkeys(VARIANT_NAMES, VariantLoad(REPLICAS, 40, 3))


def run() -> Iterator[Figure]:
    """Routing, hashing, looking up and choosing, in milliseconds of this thread's: a decision waits for nothing, and
    what else runs on the core is none of its time."""
    source, index = random.Random(0), PrefixIndex()
    tokens = [source.randrange(262_144) for _ in range(TOKENS)]
    names = [f"replica{number}" for number in range(REPLICAS)]
    for number, name in enumerate(names):
        index.learn(name, Placement.of(_payload(tokens[: number * TOKENS // REPLICAS]), ()).hashes, 0.0)
    payload = _payload(tokens)
    seconds = sorted(_seconds(payload, index, names, source) for _ in range(ROUNDS))
    yield Figure("routing_32k_p50_ms", statistics.median(seconds) * 1000, "<=", 0.1)
    yield Figure("routing_32k_p99_ms", seconds[ROUNDS * 99 // 100] * 1000, "<=", 1.0)


def _payload(tokens: list[int]) -> bytes:
    return bytes(ReplicaRequest(request_id="bench", prompt_token_ids=tokens).SerializeToString())


def _seconds(payload: bytes, index: PrefixIndex, names: list[str], source: random.Random) -> float:
    started = time.thread_time()
    choose_variant(RouteRequest(dict.fromkeys(VARIANT_NAMES, TOKENS)), VARIANTS, LOADS, POLICY)
    hashes = Placement.of(payload, ()).hashes
    choose([Candidate(name, 0, boundary_bytes(index.matched(name, hashes))) for name in names], source)
    return time.thread_time() - started
