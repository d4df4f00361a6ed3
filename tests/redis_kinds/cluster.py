"""A Redis Cluster of three primaries, with replicas if wanted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from cluster.sessions.embedded import EmbeddedValkey
from tests.ports import free_port

_SECRET = "of-the-nodes"
_SLOTS = 16384
_PRIMARIES = 3
_PATIENCE_S = 120


class WithCluster:
    """A RedisKind."""

    def __init__(self, node_timeout_ms: int = 600_000, num_replicas: int = 0) -> None:
        """The first `num_replicas` nodes have a replica each, which takes over after the timeout."""
        self._options = {"cluster-enabled": "yes", "cluster-node-timeout": str(node_timeout_ms), "masterauth": _SECRET}
        self._num_replicas = num_replicas
        self._stack = ExitStack()
        self.nodes: list[EmbeddedValkey] = []
        self._bus_ports: list[int] = []

    def __enter__(self) -> WithCluster:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for number in range(_PRIMARIES + self._num_replicas):
                self.nodes.append(stack.enter_context(self._node(folder / str(number))))
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:_PRIMARIES])
        return f"redis+cluster://:{_SECRET}@{hosts}"

    @property
    def pids(self) -> list[int]:
        return [node.pid for node in self.nodes]

    def client(self) -> Any:
        return redis.RedisCluster.from_url(self.nodes[-1].url, protocol=2)

    def _node(self, folder: Path) -> EmbeddedValkey:
        folder.mkdir()
        self._bus_ports.append(free_port())
        options = {**self._options, "cluster-port": str(self._bus_ports[-1]), "dir": str(folder)}
        return EmbeddedValkey(password=_SECRET, options=options)

    def _join(self) -> None:
        for number, node in enumerate(self.nodes):
            if number < _PRIMARIES:
                _run(node, "CLUSTER ADDSLOTSRANGE", _first_slot(number), _first_slot(number + 1) - 1)
            _run(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            _run(node, "CLUSTER MEET", "127.0.0.1", self.nodes[0].port, self._bus_ports[0])
        for primary, replica in zip(self.nodes, self.nodes[_PRIMARIES:], strict=False):
            name = _run(primary, "CLUSTER MYID").decode()
            _until(partial(_run, replica, "CLUSTER REPLICATE", name))
        for node in self.nodes:
            _until(partial(self._is_whole, node))

    def _is_whole(self, node: EmbeddedValkey) -> bool:
        info = _run(node, "CLUSTER INFO")
        is_joined = info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == len(self.nodes)
        return is_joined and _run(node, "INFO", "replication").get("master_link_status", "up") == "up"


def _first_slot(primary: int) -> int:
    return _SLOTS * primary // _PRIMARIES


def _run(node: EmbeddedValkey, *command: Any) -> Any:
    with redis.Redis.from_url(node.url, protocol=2) as client:
        return client.execute_command(*command)


def _until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with suppress(redis.ResponseError):
            if is_so():
                return
        assert time.monotonic() < deadline, "the cluster has not come together"
        time.sleep(0.1)
