"""Ray Serve's hook, beside the handles in each gateway. Serve pickles the class; what it decides by is elsewhere."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from random import Random
from typing import Any

from ray.serve._private.common import ReplicaID
from ray.serve._private.replica_result import ReplicaResult
from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.replica_wrapper import RunningReplica
from ray.serve.request_router import RequestRouter

from cluster.metrics import REPLICA_CHOICES
from cluster.placement.choice import Candidate, choose
from cluster.placement.index import PrefixIndex
from cluster.placement.placement import Placement
from cluster.placement.prefix import boundary_bytes, unpack
from cluster.placement.pulse import Pulse
from cluster.placement.tenure import Tenure

HELD_PREFIXES = "held_prefixes"


class PrefixRouter(RequestRouter):
    """Prefers the replica that holds the prompt's beginning, falls back on load, and tells when a replica leaves, or
    gives no sign of life."""

    def initialize_state(  # type: ignore[override]
        self, drain_grace_s: float = math.inf, has_prefix_cache: bool = True, silence_s: float = 20.0
    ) -> None:
        """Serve passes the deployment's `request_router_kwargs`."""
        self._drain_grace_s, self._silence_s = drain_grace_s, silence_s
        self._has_prefix_cache = has_prefix_cache
        self._index = PrefixIndex()
        self._reports: dict[ReplicaID, bytes] = {}
        self._tenures: dict[ReplicaID, Tenure] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._random = Random()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Serve calls this at every change, of the replicas or of what they report."""
        super().update_replicas(replicas)
        now_s = time.monotonic()
        for replica_id in self._tenures.keys() - self._replicas.keys():
            self._tenures.pop(replica_id).ends_at_s = now_s + self._drain_grace_s
        self._index.keep_only(replica_id.unique_id for replica_id in self._replicas)
        self._reports = {key: value for key, value in self._reports.items() if key in self._replicas}
        for replica_id, replica in self._replicas.items():
            if replica_id not in self._tenures:
                self._tenures[replica_id] = Tenure(replica_id.unique_id)
                self._watch(self._tenures[replica_id], replica)
            report = replica.routing_stats.get(HELD_PREFIXES)
            if report is not None and report != self._reports.get(replica_id):
                self._reports[replica_id] = report
                self._index.report(replica_id.unique_id, unpack(report), now_s)

    def _watch(self, tenure: Tenure, replica: RunningReplica) -> None:
        # Serve's own question to a replica, for how much it has to do.
        ask = partial(replica.get_queue_len, deadline_s=self._silence_s)
        task = self._event_loop.create_task(Pulse(tenure, ask, self._silence_s).run())
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _choose_replica_for_request(
        self, pending_request: PendingRequest, *, is_retry: bool = False
    ) -> RunningReplica:
        """Called by Serve, which then waits for the replica to take the request; one that is silent never does.

        Where nobody is being placed, and the replica wanted most is known to have room, it is chosen here and now:
        Serve's queue comes to the same, but hands each request from task to task.
        """
        replica = None if is_retry or self.curr_num_routing_tasks else await self._at_once(pending_request)
        replica = replica or await super()._choose_replica_for_request(pending_request, is_retry=is_retry)
        placement = _placement(pending_request)
        if placement is not None:
            placement.at(self._tenures.get(replica.replica_id))
        return replica

    async def _at_once(self, pending_request: PendingRequest) -> RunningReplica | None:
        """Waits for nothing. None if there is no replica, or the one wanted most may be full."""
        [wanted, *_] = await self.choose_replicas(self._replicas_list, pending_request)
        known = ((replica, self.replica_queue_len_cache.get(replica.replica_id)) for replica in wanted)
        with_room = (replica for replica, load in known if load is not None and load < replica.max_ongoing_requests)
        return next(with_room, None)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Replicas to try, in order; Serve asks again, a little later each time, while all of them are full."""
        placement = _placement(pending_request)
        if pending_request is None or not candidate_replicas:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        avoided = placement.avoided if placement else ()
        replicas = {item.replica_id.unique_id: item for item in candidate_replicas}
        alive = [name for name, item in replicas.items() if not self._is_silent(item.replica_id)] or list(replicas)
        names = [name for name in alive if name not in avoided] or alive
        hashes = placement.hashes if placement and self._has_prefix_cache else ()
        choice = choose([self._candidate(replicas[name], hashes) for name in names], self._random)
        if placement:
            placement.reason = choice.reason
        others = [replicas[name] for name in names if name not in choice.replicas]
        return [*([replicas[name]] for name in choice.replicas), others]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult) -> None:
        """The replica has taken the request."""
        placement = _placement(pending_request)
        if placement is None:
            return
        if self._has_prefix_cache:
            self._index.learn(replica_id.unique_id, placement.hashes, time.monotonic())
        if placement.reason is not None:
            REPLICA_CHOICES.record(1, self._deployment_id.name, placement.reason.value)

    def _is_silent(self, replica_id: ReplicaID) -> bool:
        tenure = self._tenures.get(replica_id)
        return tenure is not None and tenure.is_silent

    def _candidate(self, replica: RunningReplica, hashes: Any) -> Candidate:
        name = replica.replica_id.unique_id
        load = self.replica_queue_len_cache.get(replica.replica_id) or 0
        return Candidate(name, load, boundary_bytes(self._index.matched(name, hashes)))


def _placement(pending_request: PendingRequest | None) -> Placement | None:
    """That of a call which has one as its last argument, as `generate` does."""
    last = pending_request.args[-1] if pending_request is not None and pending_request.args else None
    return last if isinstance(last, Placement) else None
