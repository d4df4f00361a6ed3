"""How large pods are and how many a group has, from what its variants take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.config import ClusterConfig, VariantConfig
from cluster.config.kubernetes import WorkerGroup
from cluster.engines.vllm.parallelism import placement_bundles
from cluster.planning.demand import cpu_demand
from cluster.planning.gpus import GIB
from cluster.planning.known_models import known_model

# Ray's own processes, its object store, and room for what a request brings along.
RAY_BYTES = 2 * GIB
# A replica whose model the planner does not know, as the tiny ones: torch, and weights that hardly count.
_UNKNOWN_BYTES = GIB


@dataclass(frozen=True)
class Load:
    """What one actor, or one bundle of its placement group, reserves; `memory_bytes` it takes unreserved."""

    cpus: float
    gpus: float
    memory_bytes: int

    def __add__(self, other: Load) -> Load:
        return Load(self.cpus + other.cpus, self.gpus + other.gpus, self.memory_bytes + other.memory_bytes)

    def fits(self, room: Load) -> bool:
        """Whether a pod with that much room holds it."""
        tolerance = 1e-9
        return (
            self.cpus <= room.cpus + tolerance
            and self.gpus <= room.gpus + tolerance
            and self.memory_bytes <= room.memory_bytes
        )


def replica_loads(config: ClusterConfig, name: str) -> list[Load]:
    """Of one replica: what must be in one pod each, but may be spread over several.

    Ray would spread the ranks of tensor parallelism, too; but they wait for each other in every layer.
    """
    variant = config.variants[name]
    parts = variant.vllm.pipeline_parallel if placement_bundles(variant) is not None else variant.expert_ranks
    load = Load(variant.num_cpus / parts, variant.num_gpus / parts, replica_bytes(config, name) // parts)
    return [load] * parts


def replica_bytes(config: ClusterConfig, name: str) -> int:
    """Memory of one replica's processes, as `gemma-cluster up` counts it. On GPUs: of the processes alone."""
    variant = config.variants[name]
    known = known_model(config.checkpoint_of(name))
    if variant.num_gpus > 0 or variant.engine == "echo" or known is None:
        return _UNKNOWN_BYTES * _num_processes(variant)
    return cpu_demand(variant, *known).total_bytes


def pod_memory_gib(config: ClusterConfig, group: WorkerGroup) -> int:
    """What the group says, else room for one replica of each of its variants, and Ray."""
    if group.memory_gib is not None:
        return group.memory_gib
    return math.ceil((sum(replica_bytes(config, name) for name in group.variants) + RAY_BYTES) / GIB)


def pod_room(config: ClusterConfig, group: WorkerGroup) -> Load:
    """What replicas may take of a pod."""
    return Load(group.cpus, group.gpus, pod_memory_gib(config, group) * GIB - RAY_BYTES)


def pod_counts(config: ClusterConfig, group: WorkerGroup) -> tuple[int, int]:
    """Least and most pods of a group. Every load must fit an empty pod."""
    room = pod_room(config, group)
    least, most = (_pods_needed(list(_all_loads(config, group, bound)), room) for bound in ("min", "max"))
    if group.pods.min is not None:
        least = group.pods.min
    return least, max(1, least, most if group.pods.max is None else group.pods.max)


def needed_at_most(config: ClusterConfig, group: WorkerGroup) -> int:
    """Pods with which every variant may have all its replicas."""
    return _pods_needed(list(_all_loads(config, group, "max")), pod_room(config, group))


def _all_loads(config: ClusterConfig, group: WorkerGroup, bound: str) -> Iterator[Load]:
    for name in group.variants:
        for _ in range(getattr(config.variants[name].replicas, bound)):
            yield from replica_loads(config, name)


def _pods_needed(loads: list[Load], room: Load) -> int:
    """First fit, largest first."""
    pods: list[Load] = []
    for load in sorted(loads, key=lambda load: (load.gpus, load.memory_bytes, load.cpus), reverse=True):
        for index, taken in enumerate(pods):
            if (taken + load).fits(room):
                pods[index] = taken + load
                break
        else:
            pods.append(load)
    return len(pods)


def _num_processes(variant: VariantConfig) -> int:
    return variant.expert_ranks * variant.tensor_parallel * variant.vllm.pipeline_parallel
