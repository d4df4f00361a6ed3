"""Which kernels of ours this machine can run. Numba is imported, and compiles, only when one is asked for."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import torch

from model.kernels.openmp import has_team

if TYPE_CHECKING:
    from model.kernels.decode_attention import DecodeAttentionKernel
    from model.kernels.decode_layers import DecodeLayersKernel
    from model.kernels.int4_matmul import Int4Matmul
    from model.kernels.int4_tiles import Int4Tiles

# Set to "torch" it keeps to torch's own kernels, and Numba is never imported.
KERNELS = "GEMMA_CLUSTER_KERNELS"


@cache
def int4_matmul() -> Int4Matmul | None:
    """None where `can_compile` says no."""
    if not can_compile():
        return None
    from model.kernels.int4_matmul import Int4Matmul

    return Int4Matmul(_int4_tiles())


@cache
def decode_attention() -> DecodeAttentionKernel | None:
    """None where `can_compile` says no."""
    if not can_compile():
        return None
    from model.kernels.decode_attention import DecodeAttentionKernel

    return DecodeAttentionKernel()


@cache
def decode_layers() -> DecodeLayersKernel | None:
    """None where `can_compile` says no."""
    if not can_compile():
        return None
    from model.kernels.decode_layers import DecodeLayersKernel

    return DecodeLayersKernel()


def _int4_tiles() -> Int4Tiles | None:
    if not has_tiles():
        return None
    from model.kernels.int4_tiles import Int4Tiles

    return Int4Tiles()


def has_tiles() -> bool:
    """Does the CPU have AMX, and does Linux let this process use it? Torch asks for that (ARCH_REQ_XCOMP_PERM)."""
    return bool(torch.cpu._is_amx_tile_supported()) and bool(torch.cpu._init_amx())


def can_compile() -> bool:
    """Are AVX-512 VNNI and torch's threads at hand, and our kernels wanted?"""
    return os.environ.get(KERNELS) != "torch" and _has_avx512_vnni() and has_team()


def _has_avx512_vnni() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool(torch.cpu._is_vnni_supported())
