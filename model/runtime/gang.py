"""Ranks that step together: each serves its own sequences, and the experts are spread over all of them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Self

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store, TCPStore

from model.runtime.doorbell import Doorbell


class GangError(RuntimeError):
    """A rank is lost or hangs: the others cannot go on without its experts, and end too."""


@dataclass(frozen=True)
class GangConfig:
    """One rank's place in a gang.

    `host` is this rank's address as others reach it. No rank may keep the others waiting longer than `timeout_s`
    within a step; they meet at the start within `start_timeout_s`. Idle ranks meet every `heartbeat_s`. On a
    `device_type` "cuda" rows travel over NCCL, else over gloo.
    """

    rank: int
    num_ranks: int
    host: str = "127.0.0.1"
    timeout_s: float = 20.0
    start_timeout_s: float = 600.0
    heartbeat_s: float = 1.0
    device_type: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.num_ranks:
            raise ValueError(f"rank {self.rank} is not one of {self.num_ranks} ranks, counted from 0")
        if not 0 < 2 * self.heartbeat_s <= self.timeout_s:
            raise ValueError(
                f"timeout_s ({self.timeout_s:g}) must be at least twice heartbeat_s ({self.heartbeat_s:g}): "
                "idle ranks wait that long for each other"
            )


@dataclass(frozen=True)
class GangSeat:
    """A rank's place, and where the gang meets."""

    config: GangConfig
    address: tuple[str, int]


class Intent(NamedTuple):
    """What a rank, or any rank of the gang, is about to do: compute a pass, answer in it, end."""

    has_pass: bool
    has_decodes: bool
    is_stopping: bool


class Gang:
    """This process's seat in the gang; its collectives belong to one thread, `ring` to any.

    A process has one gang at most, whose process group is the default one. Every method raises GangError when a rank
    has died, or does not answer in time.
    """

    def __init__(self, config: GangConfig, store: Store) -> None:
        """Meets the other ranks in `store`."""
        self.config = config
        self._bell = Doorbell(config.host)
        self._ours = torch.zeros(len(Intent._fields), dtype=torch.int32)
        backend = "cpu:gloo,cuda:nccl" if config.device_type == "cuda" else "gloo"
        store.set_timeout(timedelta(seconds=config.start_timeout_s))
        try:
            self._introduce(store)
            dist.init_process_group(
                backend,
                store=store,
                rank=config.rank,
                world_size=config.num_ranks,
                timeout=timedelta(seconds=config.timeout_s),
            )
        except (RuntimeError, ConnectionError) as error:  # torch's own errors of a store are RuntimeErrors
            self._bell.close()
            raise GangError(f"rank {config.rank} did not meet all {config.num_ranks} ranks: {error}") from error

    @classmethod
    def join(cls, seat: GangSeat) -> Self:
        """Meets the other ranks at the store that listens on the seat's address; see `open_store`."""
        config, (host, port) = seat.config, seat.address
        timeout = timedelta(seconds=config.start_timeout_s)
        try:
            store = TCPStore(host, port, is_master=False, timeout=timeout, wait_for_workers=False)
        except (RuntimeError, ConnectionError) as error:
            raise GangError(f"rank {config.rank} found no gang at {host}:{port}: {error}") from error
        return cls(config, store)

    def agree(self, ours: Intent) -> Intent:
        """What any rank intends. All ranks call it before each step."""
        with torch.inference_mode():
            self._ours.copy_(torch.tensor(ours))
            try:
                dist.all_reduce(self._ours, dist.ReduceOp.MAX)
            except RuntimeError as error:
                raise GangError(f"rank {self.config.rank} lost another rank: {error}") from error
            return Intent(*map(bool, self._ours.tolist()))

    def wait(self) -> None:
        """Sleeps until a rank rings, or it is time to see whether all are there still."""
        self._bell.wait(self.config.heartbeat_s)

    def ring(self) -> None:
        """There is work: nobody shall sleep."""
        self._bell.ring()

    def leave(self) -> None:
        """Closes the connections: ranks that still wait for this one learn at once that it is gone."""
        self._bell.close()
        dist.destroy_process_group()

    def _introduce(self, store: Store) -> None:
        num_ranks, rank = self.config.num_ranks, self.config.rank
        if rank == 0:
            store.set("bell/secret", secrets.token_hex(8))
        store.set(f"bell/{rank}", json.dumps(self._bell.address))
        peers = [json.loads(store.get(f"bell/{peer}")) for peer in range(num_ranks)]
        self._bell.connect([(host, port) for host, port in peers], store.get("bell/secret"))


def open_store(host: str) -> TCPStore:
    """Where a gang meets, on a free port of this machine (`.port`): rank 0 opens it and keeps it."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False)
