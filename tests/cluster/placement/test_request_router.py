"""Ray Serve's own routing loop, with our choice in it, over replicas that are only numbers here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.serialization import RPCSerializer

from cluster.app import _placement
from cluster.config import VariantConfig
from cluster.placement.choice import ChoiceReason
from cluster.placement.placement import Placement
from cluster.placement.prefix import pack
from cluster.placement.request_router import HELD_PREFIXES, PrefixRouter

DEPLOYMENT = DeploymentID("e2b", "app")
GRACE_S, SILENCE_S = 0.05, 0.2


@dataclass
class Replica:
    """What the router asks of one."""

    replica_id: ReplicaID
    queue_len: int = 0
    max_ongoing_requests: int = 4
    routing_stats: dict[str, Any] = field(default_factory=dict)

    is_stopped: bool = False

    async def get_queue_len(self, *, deadline_s: float) -> int:
        while self.is_stopped:
            await asyncio.sleep(0.01)
        return self.queue_len


class Routing:
    """A router over some replicas, and the requests that it routes."""

    def __init__(self, names: Iterable[str]) -> None:
        self.replicas = {name: Replica(ReplicaID(name, DEPLOYMENT)) for name in names}
        self._router = PrefixRouter(
            deployment_id=DEPLOYMENT,
            handle_source=DeploymentHandleSource.REPLICA,
            use_replica_queue_len_cache=True,
            initial_backoff_s=0.001,
            max_backoff_s=0.01,
        )
        self._router.initialize_state(drain_grace_s=GRACE_S, silence_s=SILENCE_S)
        self._numbers = iter(range(1_000_000))
        self.update()

    def update(self) -> None:
        """As the controller does after every change."""
        self._router.update_replicas(list(self.replicas.values()))  # type: ignore[arg-type]

    async def send(self, placement: Placement) -> str:
        """The replica that gets it; it goes on for ever."""
        pending = self.pending(placement)
        replica = await asyncio.wait_for(self._router._choose_replica_for_request(pending), 5)
        self._router.on_send_request(replica.replica_id)
        self.replicas[replica.replica_id.unique_id].queue_len += 1
        self._router.on_request_routed(pending, replica.replica_id, None)  # type: ignore[arg-type]
        assert placement.replica == replica.replica_id.unique_id
        return str(replica.replica_id.unique_id)

    def pending(self, placement: Placement) -> PendingRequest:
        """A request that has come."""
        number = str(next(self._numbers))
        metadata = RequestMetadata(request_id=number, internal_request_id=number, call_method="generate")
        return PendingRequest(args=[b"", placement], kwargs={}, metadata=metadata)


@pytest.fixture
async def routing() -> Routing:
    """Three replicas whose queues are known."""
    made = Routing(["a", "b", "c"])
    await asyncio.sleep(0.01)
    return made


async def test_what_begins_alike_goes_to_the_same_replica(routing: Routing) -> None:
    for number in range(5):
        hashes = tuple(range(10 * number, 10 * number + 5))
        first, second = Placement(hashes), Placement((*hashes, 1000 + number))
        assert await routing.send(first) == await routing.send(second)
        assert second.reason is ChoiceReason.PREFIX


async def test_what_a_replica_reports_draws_requests(routing: Routing) -> None:
    routing.replicas["b"].routing_stats = {HELD_PREFIXES: pack((1, 2))}
    routing.update()
    assert await routing.send(Placement((1, 2, 3))) == "b"
    routing.replicas["b"].routing_stats = {HELD_PREFIXES: b""}
    routing.update()
    lone = Placement((1, 2))
    await routing.send(lone)
    assert lone.reason is ChoiceReason.PREFIX, "it was sent there itself a moment ago"


async def test_requests_that_begin_alike_do_not_overload_a_replica(routing: Routing) -> None:
    taken = Counter([await routing.send(Placement((1, 2, 3))) for _ in range(12)])
    assert taken == {"a": 4, "b": 4, "c": 4}


async def test_a_request_waits_while_all_are_full_and_is_then_served(routing: Routing) -> None:
    for _ in range(12):
        await routing.send(Placement(()))
    waiting = asyncio.create_task(routing.send(Placement((1,))))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    routing.replicas["c"].queue_len = 0
    assert await waiting == "c"


async def test_a_request_for_a_replica_that_has_room_waits_for_nothing(routing: Routing) -> None:
    holder = await routing.send(Placement((1, 2)))
    with pytest.raises(StopIteration) as ended:
        routing._router._choose_replica_for_request(routing.pending(Placement((1, 2)))).send(None)
    assert ended.value.value is routing.replicas[holder]


async def test_a_lost_replica_is_asked_again_only_if_there_is_no_other(routing: Routing) -> None:
    holder = await routing.send(Placement((1, 2)))
    assert holder not in [await routing.send(Placement((1, 2), {holder})) for _ in range(4)]
    assert await routing.send(Placement((1, 2), {"a", "b", "c"})) in routing.replicas


async def test_answers_of_a_replica_that_leaves_are_over_after_the_grace(routing: Routing) -> None:
    placements = {}
    for number in range(12):
        placement = Placement((number,))
        placements[await routing.send(placement)] = placement
    del routing.replicas["a"]
    routing.update()
    assert not placements["a"].is_over
    await asyncio.sleep(2 * GRACE_S)
    assert [placements[name].is_over for name in "abc"] == [True, False, False]


async def test_a_silent_replica_loses_its_requests_and_gets_no_more(routing: Routing) -> None:
    placement = Placement((1, 2))
    holder = await routing.send(placement)
    routing.replicas[holder].is_stopped = True
    await asyncio.sleep(2 * SILENCE_S)
    assert placement.is_lost
    assert holder not in [await routing.send(Placement((1, 2))) for _ in range(4)]
    routing.replicas[holder].is_stopped = False
    await asyncio.sleep(SILENCE_S)
    assert holder in [await routing.send(Placement((number,))) for number in range(10, 16)]


async def test_a_silent_replica_is_asked_if_all_are(routing: Routing) -> None:
    for replica in routing.replicas.values():
        replica.is_stopped = True
    await asyncio.sleep(2 * SILENCE_S)
    placement = Placement(())
    assert await routing.send(placement) in routing.replicas
    await asyncio.sleep(SILENCE_S)
    assert placement.is_lost


def test_the_router_that_serve_unpickles_knows_placements_and_replicas_get_bytes() -> None:
    options = _placement(VariantConfig())
    kind = options.get_request_router_class()
    assert kind.choose_replicas.__globals__["Placement"] is Placement
    assert options.request_router_kwargs["has_prefix_cache"]
    serializer = RPCSerializer.get_cached_serializer("cloudpickle", "cloudpickle")
    assert serializer.loads_request(serializer.dumps_request([b"", Placement((1,))])) == [b"", pack([1])]


async def test_calls_without_a_placement_are_routed_too(routing: Routing) -> None:
    metadata = RequestMetadata(request_id="x", internal_request_id="x", call_method="load")
    pending = PendingRequest(args=[], kwargs={}, metadata=metadata)
    replica = await asyncio.wait_for(routing._router._choose_replica_for_request(pending), 5)
    assert replica.replica_id.unique_id in routing.replicas
