"""One rank of a gang, as a Ray actor: an engine that holds a share of the experts and answers requests of its own."""

from __future__ import annotations

import asyncio
import os

import psutil
import ray

from cluster.config import VariantConfig
from cluster.tracing import start_tracing, stop_tracing
from cluster.variants.meter import Meter
from cluster.variants.packing import Pacer
from cluster.variants.replica import EngineReplica, make_engine


class Shard(EngineReplica):
    """Speaks serialised internal messages, as a replica does. `config` is that of the rank, not of the replica."""

    def __init__(self, name: str, config: VariantConfig, checkpoint_name: str, rank: int) -> None:
        self._name, self._config, self._checkpoint_name, self._rank = name, config, checkpoint_name, rank
        self._host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]

    async def open(self) -> tuple[str, int]:
        """Where the gang meets; rank 0 is asked for it."""
        from model.runtime.gang import open_store  # not at the top: whoever starts shards needs no torch

        self._store = await asyncio.to_thread(open_store, self._host)
        return self._host, self._store.port

    async def start(self, address: tuple[str, int]) -> None:
        """Loads this rank's share of the checkpoint, then meets the others."""
        from model.runtime.gang import GangConfig, GangSeat

        _use_interface(self._host)
        config = GangConfig(
            self._rank,
            self._config.expert_ranks,
            host=self._host,
            timeout_s=self._config.rank_timeout_s,
            device_type="cuda" if self._config.num_gpus else "cpu",
        )
        seat = GangSeat(config, address)
        start_tracing()
        self._engine = await asyncio.to_thread(make_engine, self._name, self._config, self._checkpoint_name, seat)
        await self._engine.start()
        self._pacer, self._meter = Pacer(), Meter()

    async def load(self) -> bytes:
        """A ReplicaLoadReport."""
        return bytes(self.report().SerializeToString())

    async def stop(self) -> None:
        """Ends the requests of all ranks."""
        await self._engine.stop()
        await asyncio.to_thread(stop_tracing)


def _use_interface(host: str) -> None:
    """Gloo would take the interface that the machine's own name resolves to, which others may not reach."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
