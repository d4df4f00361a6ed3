"""What compiled functions that a Team runs have in common."""

from __future__ import annotations

import ctypes

import llvmlite.binding
from numba import int32, int64, njit, types

from model.kernels import openmp

# How such a function is compiled: it gets the address of its arguments.
ARGUMENTS = types.void(types.CPointer(int64))


def _function_of_team(name: str, returned: types.Type) -> types.ExternalFunction:
    """By name, not by address: compiled code is kept on disk, and the library lies elsewhere in each process."""
    address = ctypes.cast(getattr(openmp.load(), name), ctypes.c_void_p).value
    llvmlite.binding.add_symbol(name, address)
    return types.ExternalFunction(name, returned())


thread_index = _function_of_team("omp_get_thread_num", int32)
_num_threads = _function_of_team("omp_get_num_threads", int32)
# Returns when every thread has called it.
meet = _function_of_team("GOMP_barrier", types.void)


@njit(inline="always")
def share(size):
    """Which of `size` things are this thread's: the first, and the first that is not."""
    index, count = thread_index(), _num_threads()
    return size * index // count, size * (index + 1) // count
