"""Bytes of keys and values: the published table, and laws over sequences and ranks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.planning.kv_cache import kv_cost
from cluster.planning.layouts import windowed_tokens
from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import windowed_pages
from model.variants import DENSE_31B, E2B, VARIANTS

KIB, MIB = 1 << 10, 1 << 20
RANKS = st.sampled_from([1, 2, 4, 8])
MODELS = st.sampled_from(list(VARIANTS.values()))


@pytest.mark.parametrize(
    ("variant", "global_kib", "window_mib"), [("e2b", 6, 6), ("e4b", 16, 20), ("26b-a4b", 20, 200), ("31b", 80, 800)]
)
def test_costs_are_those_published(variant: str, global_kib: int, window_mib: int) -> None:
    cost = kv_cost(VARIANTS[variant].text, 2)
    assert (cost.global_bytes, cost.window_bytes) == (global_kib * KIB, window_mib * MIB)
    half = kv_cost(VARIANTS[variant].text, 1)
    assert (half.global_bytes, half.window_bytes) == (global_kib * KIB // 2, window_mib * MIB // 2)


@pytest.mark.parametrize(("ranks", "global_kib", "local_kib"), [(1, 80, 800), (2, 40, 400), (4, 20, 200), (8, 20, 100)])
def test_ranks_share_heads_until_each_has_one(ranks: int, global_kib: int, local_kib: int) -> None:
    cost = kv_cost(DENSE_31B.text, 2, ranks)  # 4 global heads, 16 local ones
    assert (cost.global_bytes, cost.local_bytes) == (global_kib * KIB, local_kib * KIB)


def test_a_single_head_is_repeated_on_every_rank() -> None:
    assert kv_cost(E2B.text, 2, 8) == kv_cost(E2B.text, 2)


def test_a_long_sequence_keeps_all_tokens_of_global_layers_and_a_window_of_the_others() -> None:
    cost = kv_cost(DENSE_31B.text, 2)
    assert cost.sequence_bytes(32_768) == 32_768 * 80 * KIB + (1024 + 16) * 800 * KIB
    assert cost.sequence_bytes(32_768, 8192) == 32_768 * 80 * KIB + (1024 + 8192 + 16) * 800 * KIB
    assert cost.sequence_bytes(100) == 112 * 80 * KIB + (112 + 16) * 800 * KIB


@settings(deadline=None)
@given(MODELS, RANKS, st.integers(1, 200_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_tokens_never_take_less(model: object, ranks: int, tokens: int, more: int, in_flight: int) -> None:
    cost = kv_cost(model.text, 2, ranks)  # type: ignore[attr-defined]
    assert cost.sequence_bytes(tokens) <= cost.sequence_bytes(tokens + more)
    assert cost.sequence_bytes(tokens) <= cost.sequence_bytes(tokens, in_flight)


@settings(deadline=None)
@given(st.sampled_from([512, 1024]), st.integers(1, 64), st.integers(16, 8192))
def test_the_native_engines_sliding_pages_are_those_it_takes(window: int, batch: int, chunk: int) -> None:
    config = RuntimeConfig(max_batch_size=batch, prefill_tokens=chunk)
    assert windowed_tokens(window, batch, chunk) == windowed_pages(window, config) * config.page_size
