"""So many Ray nodes on this machine, in a process of their own: Ray's threads and sockets stay out of the test's.

Run as a program it prints the cluster's address, adds a node for each line that comes in, and lives until its standard
input closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.e2e.up_process import STOP_S

ENV = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class SomeNodes:
    """Made by `some_nodes`; `address` is the cluster's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._next_address()

    def _next_address(self) -> str:
        assert self._process.stdout is not None
        return next(line.strip() for line in self._process.stdout if line[0].isdigit())

    def add(self) -> None:
        """One more; returns when it has joined."""
        assert self._process.stdin is not None
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        self._next_address()

    def others(self) -> list[list[psutil.Process]]:
        """All processes of each node but the head: its raylet first, then what it has started."""
        keeper = psutil.Process(self._process.pid)
        raylets = [child for child in keeper.children() if "/raylet " in " ".join(child.cmdline())]
        return [[raylet, *raylet.children(recursive=True)] for raylet in raylets if "--head" not in raylet.cmdline()]


@contextmanager
def some_nodes(count: int) -> Iterator[SomeNodes]:
    """A Ray cluster of so many nodes, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.some_nodes", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENV},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield SomeNodes(process)
    finally:
        process.stdin.close()
        process.wait(timeout=STOP_S)
        process.stdout.close()


def main() -> None:
    """Nodes of one CPU each, so that a gateway and some variants fit on every one."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(int(sys.argv[1]) - 1):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.add_node(num_cpus=1)
        print(cluster.address, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
