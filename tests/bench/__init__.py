"""Benchmarks: each takes both sides of its ratio in one run. `make bench`, or `make bench ONLY=name`."""
