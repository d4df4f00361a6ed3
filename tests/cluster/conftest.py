"""One in-process gateway for all tests, a client of it, and a way to make another with other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster.client import Client
from cluster.config import AnswersConfig, ClusterConfig, GatewayConfig, SessionsConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from tests.cluster.gateway.local_gateway import LARGE, SMALL, LocalGateway
from tests.cluster.gateway.loop_thread import LoopThread
from tests.cluster.taught_answers import write_taught_answers
from tests.ports import free_port
from tests.redis_kinds.cluster import WithCluster
from tests.redis_kinds.kind import RedisKind
from tests.redis_kinds.redis_7 import Redis7
from tests.redis_kinds.sentinel import WithSentinel
from tests.redis_kinds.single import Single

REDIS_KINDS = {"single": Single, "redis-7": Redis7, "sentinel": WithSentinel, "cluster": WithCluster}
MakeGateway = Callable[..., LocalGateway]


def make_config(answers: AnswersConfig | None = None, redis_timeout_s: float = 0.5, **gateway: Any) -> ClusterConfig:
    """Two variants on the echo engine; keywords are GatewayConfig's."""
    echo = VariantConfig(engine="echo", max_context_tokens=4096, max_batch_size=8, max_queued_requests=8)
    return ClusterConfig(
        family="tiny",
        gateway=GatewayConfig(port=free_port(), **gateway),
        sessions=SessionsConfig(timeout_s=redis_timeout_s, max_session_mb=1, ttl_s=600),
        answers=answers or AnswersConfig(),
        variants={SMALL: echo, LARGE: echo},
    )


@pytest.fixture
def bursts_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a burst come in messages of their own, for what happens between two of them."""
    monkeypatch.setattr("cluster.variants.packing._Buffer.pause", lambda buffer, seconds: None)


@pytest.fixture(scope="session", params=REDIS_KINDS)
def redis_of_each_kind(request: pytest.FixtureRequest) -> Iterator[RedisKind]:
    """For tests that must hold over any Redis, and stop none."""
    with REDIS_KINDS[request.param]() as kind:
        yield kind


@pytest.fixture
def any_redis(redis_of_each_kind: RedisKind) -> RedisKind:
    """The same, empty."""
    with redis_of_each_kind.client() as client:
        client.flushall()
    return redis_of_each_kind


@pytest.fixture(scope="session")
def gateway_loop() -> Iterator[LoopThread]:
    """The loop that every in-process gateway runs on."""
    with LoopThread() as loop:
        yield loop


@pytest.fixture(scope="session")
def gateway_valkey() -> Iterator[EmbeddedValkey]:
    """The server that in-process gateways keep sessions in."""
    with EmbeddedValkey() as valkey:
        yield valkey


@pytest.fixture(scope="session")
def shared_gateway(gateway_loop: LoopThread, gateway_valkey: EmbeddedValkey) -> Iterator[LocalGateway]:
    """The gateway of all tests that do not need one of their own."""
    gateway = LocalGateway(make_config(), gateway_valkey, gateway_loop).start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def taught_gateway(
    tmp_path_factory: pytest.TempPathFactory, gateway_loop: LoopThread, gateway_valkey: EmbeddedValkey
) -> Iterator[LocalGateway]:
    """A gateway over the native engine with a checkpoint that was taught what to say."""
    path = write_taught_answers(tmp_path_factory.mktemp("taught") / "checkpoint")
    with _native(str(path), gateway_valkey, gateway_loop) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def native_gateway(gateway_loop: LoopThread, gateway_valkey: EmbeddedValkey) -> Iterator[LocalGateway]:
    """A gateway over the native engine with random weights."""
    with _native("tiny:e2b", gateway_valkey, gateway_loop) as gateway:
        yield gateway


@contextmanager
def _native(checkpoint: str, valkey: EmbeddedValkey, loop: LoopThread) -> Iterator[LocalGateway]:
    variant = VariantConfig(checkpoint=checkpoint, num_threads=1, max_context_tokens=1024)
    config = ClusterConfig(
        gateway=GatewayConfig(port=free_port()), sessions=SessionsConfig(timeout_s=2), variants={SMALL: variant}
    )
    gateway = LocalGateway(config, valkey, loop).start()
    yield gateway
    gateway.stop()
    loop.run(gateway.engine().stop())


@pytest.fixture
def gateway(shared_gateway: LocalGateway) -> Iterator[LocalGateway]:
    """The shared gateway without hooks; after the test nothing of a request may be left in it."""
    yield shared_gateway
    for replicas in shared_gateway.replicas.values():
        replicas.engine.hook = None
        replicas.engine.requests.clear()
    assert shared_gateway.becomes_idle(), f"{shared_gateway.busy()} things of the test's requests are left"


@pytest.fixture
def make_gateway(gateway_loop: LoopThread, gateway_valkey: EmbeddedValkey) -> Iterator[MakeGateway]:
    """`make_gateway(max_concurrent_requests=2)`: a gateway of its own; keywords are `make_config`'s."""
    made: list[LocalGateway] = []

    def make(**options: Any) -> LocalGateway:
        made.append(LocalGateway(make_config(**options), gateway_valkey, gateway_loop).start())
        return made[-1]

    yield make
    for gateway in made:
        gateway.stop(0.1)


@pytest.fixture
def client(gateway: LocalGateway) -> Iterator[Client]:
    """A client of the shared gateway whose calls end within 20 s."""
    with Client(gateway.address, timeout_s=20) as client:
        yield client
