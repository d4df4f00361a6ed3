"""The slot cache: memory follows need, stays within the budget, and moving a row keeps its content."""

import pytest
import torch

from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import SlotCache
from model.tiny import TINY_VARIANTS

CPU = torch.device("cpu")


def slot_cache(variant: str = "31b", **limits: int) -> SlotCache:
    return SlotCache(TINY_VARIANTS[variant].text, RuntimeConfig(**limits), torch.float32, CPU)


def test_only_layers_with_keys_of_their_own_have_a_store() -> None:
    assert list(slot_cache("e2b").layers) == [0, 1, 2, 3, 4]
    assert len(slot_cache("31b").layers) == 6


def test_an_empty_cache_takes_no_memory() -> None:
    assert slot_cache().num_bytes == 0


def test_memory_follows_need() -> None:
    cache = slot_cache("e2b", max_batch_size=8, max_context=4096)
    cache.reserve(1, 50)
    # Four local layers of one 32-wide head, one global of one 64-wide; keys and values; 64 entries; float32.
    assert cache.num_bytes == 2 * 64 * (4 * 32 + 64) * 4
    cache.reserve(1, 1000)
    assert cache.num_bytes == 2 * (64 * 4 * 32 + 1024 * 64) * 4


def test_what_fits_is_decided_by_rows_times_length() -> None:
    cache = slot_cache(max_batch_size=8, max_context=1000, kv_token_budget=4000)
    assert cache.fits(4, 1000)
    assert not cache.fits(4, 1001)
    assert cache.fits(8, 500)


@pytest.mark.parametrize(
    "needs", [[(1, 1000), (4, 1000), (8, 500)], [(8, 500), (2, 900), (8, 100)], [(3, 700), (5, 701)]]
)
def test_memory_stays_within_the_budget(needs: list[tuple[int, int]]) -> None:
    cache = slot_cache(max_batch_size=8, max_context=1000, kv_token_budget=4000)
    for rows, length in needs:
        cache.reserve(rows, length)
        assert cache.rows >= rows
        assert cache.entries >= length
        assert cache.rows * cache.entries <= 4000


@torch.inference_mode()
def test_growing_and_shrinking_keep_what_rows_hold() -> None:
    cache = slot_cache(max_batch_size=8, max_context=1000, kv_token_budget=4000)
    cache.reserve(1, 1000)
    for store in cache.layers.values():
        store.keys.normal_()
    before = {layer: store.keys[0, :60].clone() for layer, store in cache.layers.items()}
    cache.reserve(8, 100)
    assert cache.entries < 1000
    for layer, store in cache.layers.items():
        assert torch.equal(store.keys[0, :60], before[layer])


@torch.inference_mode()
def test_moving_a_row_copies_all_layers() -> None:
    cache = slot_cache(max_batch_size=4, max_context=512)
    cache.reserve(3, 300)
    for store in cache.layers.values():
        store.keys.normal_()
        store.values.normal_()
    cache.move(2, 0, 300)
    for store in cache.layers.values():
        assert torch.equal(store.keys[0, :128], store.keys[2, :128])
        assert torch.equal(store.values[0, :128], store.values[2, :128])


def test_a_failed_growth_leaves_the_cache_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = slot_cache(max_batch_size=8, max_context=4096)
    cache.reserve(2, 100)
    shapes = [store.keys.shape for store in cache.layers.values()]
    last = list(cache.layers.values())[-1]

    def out_of_memory(_rows: int, _entries: int) -> None:
        raise MemoryError

    monkeypatch.setattr(last, "enlarged", out_of_memory)
    with pytest.raises(MemoryError):
        cache.reserve(8, 4000)
    assert [store.keys.shape for store in cache.layers.values()] == shapes
    assert (cache.rows, cache.entries) == (2, 128)


def test_a_budget_below_one_context_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_token_budget 99 cannot hold max_context 100"):
        RuntimeConfig(max_context=100, kv_token_budget=99)


@pytest.mark.parametrize("name", ["max_batch_size", "max_context", "max_waiting", "prefill_tokens", "num_threads"])
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RuntimeConfig(**{name: 0})
