"""Tests of cluster.placement."""
