"""CPU kernels that torch does not have, compiled by Numba for the machine at hand."""
