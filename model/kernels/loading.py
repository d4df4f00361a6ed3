"""Which kernels of ours this machine can run. Numba is imported, and compiles, only when one is asked for."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import torch

from model.kernels.openmp import has_team

if TYPE_CHECKING:
    from model.kernels.int4_matmul import Int4Matmul

# Set to "torch" it keeps to torch's own kernels, which spares the 150 MB that the compiler takes.
KERNELS = "GEMMA_CLUSTER_KERNELS"


@cache
def int4_matmul() -> Int4Matmul | None:
    """None without AVX-512 VNNI, if torch's threads are not at hand, or if they are not wanted.

    Compiling takes a second.
    """
    if os.environ.get(KERNELS) == "torch" or not _has_avx512_vnni() or not has_team():
        return None
    from model.kernels.int4_matmul import Int4Matmul

    return Int4Matmul()


def _has_avx512_vnni() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool(torch.cpu._is_vnni_supported())
