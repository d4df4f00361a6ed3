"""What a plan is checked against: nodes with their memory and GPUs, as somebody else has read them."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.gpus import GIB, GPUS, Gpu, gpu_of_device

_ANY_BYTES = max(gpu.memory_bytes for gpu in GPUS.values())


@dataclass(frozen=True)
class Device:
    """A GPU by its driver's or Ray's name; `memory_bytes` is None where nobody said."""

    name: str
    memory_bytes: int | None

    def gpu(self) -> Gpu | None:
        """Its row of the table, a row made for it, or None if too little is known. The larger one, if two fit."""
        named = self.memory_bytes or (40 * GIB if "40G" in self.name.upper() else _ANY_BYTES)
        row = gpu_of_device(self.name, named)
        if row is not None or self.memory_bytes is None:
            return row
        memory_gib = self.memory_bytes / GIB
        return Gpu(self.name, self.name, memory_gib, has_fp8=True, has_nvlink=True, attention="", max_sequences=16)


@dataclass(frozen=True)
class Node:
    """A machine; `memory_bytes` is None where nobody said."""

    memory_bytes: int | None
    gpus: tuple[Device, ...] = ()
