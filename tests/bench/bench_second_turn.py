"""Time to the first token of a session's second turn against its first, with 4,000 tokens of history, over gRPC.

Both turns pay for everything: session, template, tokenizer, routing, prefill. The second prefills only what is new.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve

from cluster.app import build
from cluster.client import Client
from cluster.config import ClusterConfig, GatewayConfig, SessionsConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from tests.bench.figure import Figure
from tests.ports import free_port

ROUNDS, HISTORY_TOKENS = 7, 4000


def run() -> Iterator[Figure]:
    """Medians over sessions whose histories have nothing in common."""
    with _cluster() as client:
        words = _words(client)
        turns = [_two_turns(client, f"{number} {words}") for number in range(ROUNDS + 1)][1:]
    first, second = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    print(f"  first turn {first * 1000:,.0f} ms, second turn {second * 1000:,.0f} ms", flush=True)
    yield Figure("second_turn_ttft_vs_first", second / first, "<=", 0.1)


def _words(client: Client) -> str:
    """A text of about HISTORY_TOKENS tokens."""
    sample = " ".join(map(str, range(100)))
    per_word = client.count_tokens(sample, model="e2b").total_tokens / 100
    return " ".join(map(str, range(100, 100 + round(HISTORY_TOKENS / per_word))))


def _two_turns(client: Client, text: str) -> tuple[float, float]:
    session = client.create_session().session_id
    return _seconds_to_first(client, session, text), _seconds_to_first(client, session, "And what came last?")


def _seconds_to_first(client: Client, session: str, text: str) -> float:
    started = time.perf_counter()
    stream = client.stream(text, model="e2b", session=session, max_output_tokens=8, temperature=0)
    next(stream)
    seconds = time.perf_counter() - started
    for _ in stream:
        pass
    return seconds


@contextmanager
def _cluster() -> Iterator[Client]:
    port = free_port()
    with EmbeddedValkey() as valkey:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
        config = ClusterConfig(
            family="tiny",
            gateway=GatewayConfig(port=port),
            sessions=SessionsConfig(redis_url=valkey.url),
            variants={"e2b": VariantConfig()},
        )
        try:
            serve.run(build(config, "second-turn"), name="second-turn", route_prefix=None)
            with Client(f"127.0.0.1:{port}") as client:
                yield client
        finally:
            serve.shutdown()
            ray.shutdown()
