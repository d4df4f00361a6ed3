"""So many Ray nodes on this machine: prints the cluster's address and lives until its standard input closes.

A process of its own, so that Ray's threads and sockets stay out of the test process.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Nodes of one CPU each, so that a gateway and some variants fit on every one."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(int(sys.argv[1]) - 1):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
