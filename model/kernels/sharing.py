"""What compiled functions that a Team runs have in common."""

from __future__ import annotations

import ctypes

from numba import int64, njit, types

from model.kernels import openmp

# How such a function is compiled: it gets the address of its arguments.
ARGUMENTS = types.void(types.CPointer(int64))

_library = openmp.load()
thread_index, _num_threads = _library.omp_get_thread_num, _library.omp_get_num_threads
for _function in (thread_index, _num_threads):
    _function.argtypes, _function.restype = [], ctypes.c_int


@njit(inline="always")
def share(size):
    """Which of `size` things are this thread's: the first, and the first that is not."""
    index, count = thread_index(), _num_threads()
    return size * index // count, size * (index + 1) // count
