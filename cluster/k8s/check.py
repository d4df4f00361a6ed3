"""A configuration against the hardware that it names itself: what could never run there, and where that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.config import ClusterConfig
from cluster.config.kubernetes import WorkerGroup
from cluster.k8s.sizes import needed_at_most, pod_room, replica_loads
from cluster.planning.errors import PlanError
from cluster.planning.gpu_check import memory_refusals
from cluster.planning.gpus import GIB, find_gpu
from cluster.planning.hardware import Device, Node

_VARIANT = re.compile(r"variants\.(?P<name>[^ :]+?)(?:\.(?P<field>\w+))?[ :]")


@dataclass(frozen=True)
class Problem:
    """`path` leads to the field of the configuration that must change."""

    path: tuple[str, ...]
    message: str


def problems(config: ClusterConfig) -> list[Problem]:
    """Everything that stands in the way, in the order of the file; empty if the manifests can be written."""
    found = [*_general(config), *_placed_once(config)]
    for name, group in config.kubernetes.groups.items():
        found += _own(name, group)
    if not found:
        for name, group in config.kubernetes.groups.items():
            found += _fits(config, name, group)
    return found


def _general(config: ClusterConfig) -> Iterator[Problem]:
    if config.sessions.redis_url is not None:
        yield Problem(
            ("sessions", "redis_url"),
            "would stand in the manifests, password and all; leave it out, and put it into the Secret "
            "gemma-cluster-redis as `url` (kubernetes.redis.external_sessions: true)",
        )
    if config.gateway.tls is not None or config.gateway.health_port is not None:
        yield Problem(("gateway",), "tls and health_port: set kubernetes.certificates instead; pods get both from it")
    if config.gateway.metrics_port is not None:
        yield Problem(("gateway", "metrics_port"), "pods serve metrics on 8080; leave it out")


def _placed_once(config: ClusterConfig) -> Iterator[Problem]:
    groups = config.kubernetes.groups
    if not groups:
        yield Problem(("kubernetes", "groups"), "name at least one group of pods, with the variants that run there")
        return
    for name in config.variants:
        homes = [group for group, found in groups.items() if name in found.variants]
        if len(homes) != 1:
            where = " and ".join(homes) or "no group"
            yield Problem(("variants", name), f"is in {where} of kubernetes.groups; it must be in one")
    for group, found in groups.items():
        for name in found.variants:
            if name not in config.variants:
                path = ("kubernetes", "groups", group, "variants")
                yield Problem(
                    path, f"{name!r} is no variant of this configuration; it has {', '.join(config.variants)}"
                )


def _own(name: str, group: WorkerGroup) -> Iterator[Problem]:
    path = ("kubernetes", "groups", name)
    if group.gpu is not None:
        try:
            find_gpu(group.gpu)
        except PlanError as error:
            yield Problem((*path, "gpu"), str(error))
    if (group.gpu is None) != (group.gpus == 0):
        yield Problem((*path, "gpus"), "gpu and gpus go together: which GPU, and how many a pod has")
    if group.gpus and group.memory_gib is None:
        yield Problem(path, "memory_gib: say how much memory a pod with GPUs has")
    if group.pods.min is not None and group.pods.max is not None and group.pods.min > group.pods.max:
        yield Problem((*path, "pods"), f"min ({group.pods.min}) is above max ({group.pods.max})")


def _fits(config: ClusterConfig, name: str, group: WorkerGroup) -> Iterator[Problem]:
    too_large = [problem for variant in group.variants for problem in _too_large(config, variant, name, group)]
    yield from too_large
    if too_large:
        return
    most, needed = group.pods.max, needed_at_most(config, group)
    if most is not None and needed > most:
        yield Problem(
            ("kubernetes", "groups", name, "pods"),
            f"replicas.max of {', '.join(group.variants)} take {needed} pods, and there are at most {most}; "
            "raise pods.max or lower replicas.max",
        )
    for variant in group.variants:
        yield from _too_little_gpu_memory(config, variant, group)


def _too_large(config: ClusterConfig, variant: str, name: str, group: WorkerGroup) -> Iterator[Problem]:
    """Against an empty pod."""
    room = pod_room(config, group)
    load = max(replica_loads(config, variant), key=lambda load: (load.gpus, load.memory_bytes))
    path = ("variants", variant)
    if load.gpus > room.gpus:
        have = f"{group.gpus} x {group.gpu}" if group.gpus else "no GPU"
        advice = "lower it, or put the variant into a group with more"
        yield Problem(
            (*path, "num_gpus"),
            f"a replica wants {load.gpus:g} GPUs of one pod, and one of {name} has {have}; {advice}",
        )
    if load.cpus > room.cpus:
        yield Problem((*path, "num_cpus"), f"a replica wants {load.cpus:g} CPUs, and a pod of {name} has {group.cpus}")
    if load.memory_bytes > room.memory_bytes:
        wanted, free = load.memory_bytes / GIB, room.memory_bytes / GIB
        message = f"a replica takes {wanted:.1f} GiB of memory, and a pod of {name} has {free:.1f} GiB for it"
        yield Problem(path, f"{message}; raise memory_gib of the group")


def _too_little_gpu_memory(config: ClusterConfig, variant: str, group: WorkerGroup) -> Iterator[Problem]:
    """As the planner sees it."""
    if group.gpu is None:
        return
    gpu = find_gpu(group.gpu)
    node = Node(None, (Device(gpu.title, gpu.memory_bytes),) * group.gpus)
    for line in memory_refusals(config, variant, [node], group.gpus):
        found = _VARIANT.match(line)
        field = found["field"] if found else None
        yield Problem(("variants", variant, *([field] if field else [])), line)
