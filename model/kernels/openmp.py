"""Torch's own team of threads, for kernels of ours: a second team would fight it for the cores.

Source: the interface of GCC's libgomp, which torch's CPU build for Linux brings along.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import torch

_NAME = "libgomp.so.1"


def has_team() -> bool:
    """Is it this OpenMP that torch has loaded?"""
    try:
        load()
    except OSError:
        return False
    return True


def load() -> ctypes.CDLL:
    """The library as torch has loaded it; OSError if it has not."""
    return ctypes.CDLL(_NAME, mode=os.RTLD_NOLOAD)


class Team:
    """Runs a compiled function on as many threads as torch uses, or on fewer."""

    def __init__(self) -> None:
        self._parallel = load().GOMP_parallel
        self._parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self._parallel.restype = None

    def run(self, function: int, arguments: Sequence[int], at_most: int = 1 << 10) -> None:
        """`function` is the address of void f(int64 *arguments); returns when every thread has left it."""
        values = (ctypes.c_int64 * len(arguments))(*arguments)
        self.call(function, ctypes.addressof(values), at_most)

    def call(self, function: int, argument: int, at_most: int = 1 << 10) -> None:
        """The same for any f(argument)."""
        self._parallel(function, argument, min(at_most, torch.get_num_threads()), 0)
