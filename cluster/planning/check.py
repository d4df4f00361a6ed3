"""A configuration against machines: every variant that cannot run there, with the numbers and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.config import ClusterConfig
from cluster.planning.cpu_check import cpu_refusals
from cluster.planning.gpu_check import MOST_RANKS, count_refusals, memory_refusals
from cluster.planning.hardware import Node


def refusals(config: ClusterConfig, nodes: Sequence[Node], *, may_grow: bool = False) -> list[str]:
    """One line for each thing that cannot be; empty if the configuration may run.

    Only what is certain: where model or machine is not known, nothing is refused. A cluster that `may_grow` has as
    many GPUs as it is asked for.
    """
    found = [] if may_grow else list(count_refusals(config, nodes))
    if not found:
        ranks = MOST_RANKS if may_grow else sum(len(node.gpus) for node in nodes)
        found = [line for name in config.variants for line in memory_refusals(config, name, nodes, ranks)]
    return found + list(cpu_refusals(config, nodes))
