"""Variants that run on CPUs: does memory hold them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.config import ClusterConfig, VariantConfig
from cluster.planning.demand import CpuDemand, cpu_demand
from cluster.planning.gpus import GIB
from cluster.planning.hardware import Node
from cluster.planning.known_models import known_model

_STEP_TOKENS = 1024


def cpu_refusals(config: ClusterConfig, nodes: Sequence[Node]) -> Iterator[str]:
    """Replicas without a GPU: each against the largest machine, those that start at once against all together.

    Ranks of a replica may stand on several machines.
    """
    memories = [node.memory_bytes for node in nodes if node.memory_bytes is not None]
    if not memories or len(memories) < len(nodes):
        return
    takes = {name: demand for name in config.variants if (demand := _demand(config, name)) is not None}
    room = {name: sum(memories) if config.variants[name].expert_ranks > 1 else max(memories) for name in takes}
    alone = [
        _too_large(name, config.variants[name], demand, room[name])
        for name, demand in takes.items()
        if demand.total_bytes > room[name]
    ]
    yield from alone
    replicas = {name: config.variants[name].replicas.min for name in takes}
    total = sum(count * takes[name].total_bytes for name, count in replicas.items())
    if total > sum(memories) and not alone:
        each = ", ".join(f"{name} {count} x {_gib(takes[name].total_bytes)}" for name, count in replicas.items())
        yield (
            f"variants want {_gib(total)} of memory at their start ({each}), and there are {_gib(sum(memories))}; "
            "lower replicas.min, leave variants out, or set weights: int4"
        )


def _demand(config: ClusterConfig, name: str) -> CpuDemand | None:
    """None of a variant on GPUs, without weights, or of unknown shape."""
    variant = config.variants[name]
    if variant.num_gpus > 0 or variant.engine == "echo":
        return None
    known = known_model(config.checkpoint_of(name))
    return None if known is None else cpu_demand(variant, *known)


def _too_large(name: str, variant: VariantConfig, demand: CpuDemand, memory: int) -> str:
    advice = _advice(variant, demand, memory)
    return (
        f"variants.{name} does not fit in {_gib(memory)} of memory: weights take {_gib(demand.weight_bytes)}, the KV "
        f"cache {_gib(demand.cache_bytes)}, the process {_gib(demand.process_bytes)}; {advice}"
    )


def _advice(variant: VariantConfig, demand: CpuDemand, memory: int) -> str:
    changes = []
    tokens = demand.tokens_within(memory) // _STEP_TOKENS * _STEP_TOKENS
    if tokens:
        field = "max_context_tokens" if variant.kv_cache_tokens is None else "kv_cache_tokens"
        changes.append(f"{field}: {tokens}")
    if variant.engine == "native":
        changes += [f"weights: {name}" for name, size in demand.smaller.items() if size <= memory]
    return f"set {', or '.join(changes)}" if changes else "use a machine with more, or a smaller variant"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
