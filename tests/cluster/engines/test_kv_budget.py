"""The default size of the KV cache: what the batch wants, what memory allows, never less than a context."""

from __future__ import annotations

import psutil
import pytest
import torch

from cluster.engines.kv_budget import with_kv_budget
from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import PagedCache
from model.variants import VARIANTS

GIB = 1 << 30


def tokens(monkeypatch: pytest.MonkeyPatch, free: int, **limits: int) -> int:
    memory = psutil.virtual_memory()._replace(available=free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    config = RuntimeConfig(**{"max_batch_size": 16, "max_context": 32768} | limits)
    return with_kv_budget(config, VARIANTS["31b"].text, torch.bfloat16, torch.device("cpu")).kv_tokens


def test_with_memory_enough_each_sequence_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens(monkeypatch, 1024 * GIB) == 16 * 8192
    assert tokens(monkeypatch, 1024 * GIB, max_context=1000) == 16_000


def test_a_budget_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens(monkeypatch, GIB, kv_token_budget=100_000) == 100_000


def test_one_context_is_always_held(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens(monkeypatch, GIB) == 32768


def test_what_the_cache_takes_when_it_is_full_is_a_quarter_of_what_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RuntimeConfig(max_batch_size=16, max_context=4096, kv_token_budget=tokens(monkeypatch, 150 * GIB))
    cache = PagedCache(VARIANTS["31b"].text, config, torch.bfloat16, torch.device("cpu"))  # touches none of it
    full = sum(store.kv_S2KE.nbytes for store in cache.layers.values())
    assert 0.24 * 150 * GIB < full < 0.25 * 150 * GIB
