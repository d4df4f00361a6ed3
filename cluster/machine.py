"""What machines have: memory, and GPUs. Read here, so that what decides by it needs none of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from cluster.planning.hardware import Device, Node

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_QUERY_TIMEOUT_S = 20.0
_MIB = 1 << 20
_ACCELERATOR = "accelerator_type:"


def this_machine() -> Node:
    """Its memory, of a container that container's, and the GPUs that CUDA_VISIBLE_DEVICES leaves."""
    return Node(_memory_bytes(), tuple(_visible(_gpus())))


def ray_nodes(nodes: list[dict[str, Any]]) -> list[Node]:
    """The same of `ray.nodes()`, as far as Ray knows: GPUs by their type alone, and no memory."""
    return [_ray_node(node["Resources"]) for node in nodes if node["Alive"]]


def _ray_node(resources: Mapping[str, float]) -> Node:
    types = [name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR)]
    device = Device(types[0] if len(types) == 1 else "", None)
    return Node(None, (device,) * int(resources.get("GPU", 0)))


def _memory_bytes() -> int:
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return total


def _gpus() -> list[Device]:
    """None where there is no driver: its tool comes with it."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [Device(row[0].strip(), int(row[1]) * _MIB) for row in rows if len(row) == 2 and row[1].strip().isdigit()]


def _visible(devices: list[Device]) -> list[Device]:
    """As CUDA counts them: an index out of range hides those after it, and other ids are only counted."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return devices
    ids = [part.strip() for part in chosen.split(",") if part.strip()]
    if not all(part.isdigit() for part in ids):
        return devices[: len([part for part in ids if not part.startswith("-")])]
    return [devices[int(part)] for part in ids if int(part) < len(devices)]
