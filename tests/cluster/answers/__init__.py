"""Tests of cluster/answers."""
