"""So many Ray nodes on this machine, in a process of their own: Ray's threads and sockets stay out of the test's.

Run as a program it prints the cluster's address and lives until its standard input closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.up_process import STOP_S

ENV = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def some_nodes(count: int) -> Iterator[str]:
    """The address of a Ray cluster of so many nodes, which ends with the block."""
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
        yield next(line.strip() for line in process.stdout if line[0].isdigit())
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
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
