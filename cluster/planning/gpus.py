"""The GPUs that plans are made for, with vLLM's settings for each, as data.

`memory_gib` is what CUDA reports as total memory, rounded down: less than the name says, as the driver and ECC take
some. Attention, in vLLM 0.32: FlashAttention 4 on Hopper, whose other versions do not reach the head size of 512;
elsewhere Triton. vLLM chooses by itself, and naming another backend fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.errors import unknown

GIB = 1 << 30
_FLASH_4 = "FlashAttention 4 (with an fp8 KV cache, 3 or 4 by layer)"
_TRITON = "Triton"


@dataclass(frozen=True)
class Gpu:
    """One model of GPU.

    `has_fp8`: multiplies fp8, and its Triton kernels read fp8 keys and values; others can hold fp8 weights.
    `has_nvlink`: GPUs of a node reach each other without PCIe, which tensor parallelism asks for.
    `gpu_memory_utilization` and `max_sequences` are vLLM's settings; the latter balances throughput against the time
    a token takes, and is bounded by memory bandwidth.
    """

    name: str
    title: str
    memory_gib: float
    has_fp8: bool
    has_nvlink: bool
    attention: str
    max_sequences: int
    gpu_memory_utilization: float = 0.9

    @property
    def memory_bytes(self) -> int:
        """Total memory."""
        return int(self.memory_gib * GIB)


GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("l4", "L4 24 GB", 22.0, True, False, _TRITON, max_sequences=32),
        Gpu("a100-40", "A100 40 GB", 39.3, False, True, _TRITON, max_sequences=64),
        Gpu("l40s", "L40S 48 GB", 44.3, True, False, _TRITON, max_sequences=64),
        Gpu("a100-80", "A100 80 GB", 79.1, False, True, _TRITON, max_sequences=128),
        Gpu("h100", "H100 80 GB", 79.1, True, True, _FLASH_4, max_sequences=128),
        Gpu("h200", "H200 141 GB", 139.7, True, True, _FLASH_4, max_sequences=256),
    )
}
_ALIASES = {"a100": "a100-80", "a100-40g": "a100-40", "a100-80g": "a100-80"}


def find_gpu(name: str) -> Gpu:
    """By its name in the table, in any case. PlanError names the nearest ones."""
    key = name.lower().replace("_", "-").replace(" ", "-").removesuffix("gb")
    key = _ALIASES.get(key, key)
    if key not in GPUS:
        raise unknown("GPU", name, GPUS)
    return GPUS[key]


def gpu_of_device(device: str, memory_bytes: int) -> Gpu | None:
    """The row for a device as its driver names it ("NVIDIA A100-SXM4-80GB"); None for one that is not in the table."""
    words = device.upper().replace("-", " ").split()
    rows = [gpu for gpu in GPUS.values() if gpu.title.split()[0] in words]
    return min(rows, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes), default=None)
