"""Tests of our kernels."""
