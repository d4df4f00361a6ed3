"""What it costs to choose a replica for a prompt of 32k tokens, tokenised already, among 16 replicas that hold some."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from cluster.placement.choice import Candidate, choose
from cluster.placement.index import PrefixIndex
from cluster.placement.placement import Placement
from cluster.placement.prefix import boundary_bytes
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest
from tests.bench.figure import Figure

TOKENS, REPLICAS, ROUNDS = 32_768, 16, 2000


def run() -> Iterator[Figure]:
    """Hashing, looking up and choosing, in milliseconds."""
    source, index = random.Random(0), PrefixIndex()
    tokens = [source.randrange(262_144) for _ in range(TOKENS)]
    names = [f"replica{number}" for number in range(REPLICAS)]
    for number, name in enumerate(names):
        index.learn(name, Placement.of(_payload(tokens[: number * TOKENS // REPLICAS]), ()).hashes, 0.0)
    payload = _payload(tokens)
    seconds = sorted(_seconds(payload, index, names, source) for _ in range(ROUNDS))
    yield Figure("placement_32k_p50_ms", statistics.median(seconds) * 1000, "<=", 0.5)
    yield Figure("placement_32k_p99_ms", seconds[ROUNDS * 99 // 100] * 1000, "<=", 1.0)


def _payload(tokens: list[int]) -> bytes:
    return bytes(ReplicaRequest(request_id="bench", prompt_token_ids=tokens).SerializeToString())


def _seconds(payload: bytes, index: PrefixIndex, names: list[str], source: random.Random) -> float:
    started = time.perf_counter()
    hashes = Placement.of(payload, ()).hashes
    choose([Candidate(name, 0, boundary_bytes(index.matched(name, hashes))) for name in names], source)
    return time.perf_counter() - started
