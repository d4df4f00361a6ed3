"""Marks of tests that run vLLM."""

from __future__ import annotations

import importlib.util

import pytest

IS_HERE = importlib.util.find_spec("vllm") is not None

# Its imports warn of much that is not ours.
needs_vllm = (
    pytest.mark.vllm,
    pytest.mark.skipif(not IS_HERE, reason="vLLM has an environment of its own: make test-vllm"),
    pytest.mark.filterwarnings("default"),
)
