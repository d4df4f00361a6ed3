"""The paged cache: what it takes of memory, what it reuses, and when pages come back."""

import random

import pytest
import torch

from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import PagedCache
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence
from model.tiny import TINY_VARIANTS
from model.variants import VARIANTS

CPU = torch.device("cpu")
WINDOW = 64


def paged_cache(variant: str = "e2b", **limits: int) -> PagedCache:
    config = RuntimeConfig(**{"max_batch_size": 4, "max_context": 1024} | limits)
    return PagedCache(TINY_VARIANTS[variant].text, config, torch.float32, CPU)


def sequence(tokens: list[int]) -> Sequence:
    return Sequence("a", tokens, SamplingParams(10))


def compute(cache: PagedCache, tokens: list[int], *, chunk: int = 200) -> Sequence:
    """Admits a sequence and counts all its tokens as computed, chunk by chunk."""
    running = sequence(tokens)
    assert cache.admit(running)
    while running.num_pending:
        size = min(chunk, running.num_pending)
        assert cache.extend(running, running.num_cached + size)
        cache.advance(running, size)
    return running


def admitted(cache: PagedCache, tokens: list[int]) -> int:
    """How many tokens a prompt would reuse."""
    asking = sequence(tokens)
    assert cache.admit(asking)
    count = asking.num_cached
    cache.free(asking)
    return count


def test_only_layers_with_keys_of_their_own_have_a_store() -> None:
    assert list(paged_cache("e2b").layers) == [0, 1, 2, 3, 4]
    assert len(paged_cache("31b").layers) == 6


def test_an_empty_cache_takes_no_memory() -> None:
    assert paged_cache().num_bytes == 0


def test_memory_follows_the_tokens_held() -> None:
    cache = paged_cache("e2b")
    compute(cache, [7] * 50)
    # Four local layers of one 32-wide head, one global of one 64-wide; keys and values; 4 pages of 16; float32.
    assert cache.num_bytes == 2 * 64 * (4 * 32 + 64) * 4


def test_the_pools_of_a_full_size_model_touch_no_memory_until_they_are_used() -> None:
    before = resident_bytes()
    config = RuntimeConfig(max_batch_size=16, max_context=32768)
    cache = PagedCache(VARIANTS["e2b"].text, config, torch.float32, CPU)
    assert sum(store.kv_S2KE.nbytes for store in cache.layers.values()) > 1 << 30
    assert resident_bytes() - before < 50 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_pages_out_of_the_window_are_free_and_the_others_are_not() -> None:
    cache = paged_cache(has_prefix_cache=False)
    compute(cache, [7] * 800, chunk=16)
    local, whole = cache.group(WINDOW).pool, cache.group(None).pool
    assert whole.num_pages - whole.num_free == 50
    # Token 800 sees tokens 737..799, the first of them on page 46.
    assert local.num_pages - local.num_free == 4


@pytest.mark.parametrize("length", [1, 15, 16, 17, 127, 128, 129, 600])
def test_a_repeated_prompt_reuses_its_full_pages_but_leaves_a_token_to_compute(length: int) -> None:
    cache = paged_cache()
    tokens = list(range(length))
    cache.free(compute(cache, tokens))
    assert admitted(cache, tokens) == (length - 1) // 16 * 16
    assert admitted(cache, [*tokens, 5]) == length // 16 * 16


def test_a_running_sequence_is_reused_too() -> None:
    cache = paged_cache()
    compute(cache, [7] * 100)
    assert admitted(cache, [7] * 100) == 96


def test_a_prompt_reuses_as_much_as_begins_alike() -> None:
    cache = paged_cache()
    cache.free(compute(cache, list(range(300))))
    assert admitted(cache, [*range(170), 0, *range(171, 300)]) == 160
    assert admitted(cache, [1, *range(1, 300)]) == 0


def test_a_prefix_whose_window_is_gone_is_not_reused() -> None:
    # Two rows' windows, twice, and the longest chunk: far less than one context.
    cache = paged_cache(max_batch_size=2, max_context=16384)
    local = cache.group(WINDOW).pool
    assert local.num_pages < 120
    prompt = list(range(16000))
    cache.free(compute(cache, prompt))
    assert cache.group(None).pool.num_used == 1000
    assert admitted(cache, prompt) == 15984  # its end is there
    assert admitted(cache, prompt[:9000]) == 0  # the window before its 9000th token is not
    assert local.num_free == local.num_pages


def test_kept_pages_give_way_to_running_sequences_oldest_first() -> None:
    cache = paged_cache(max_batch_size=2, max_context=64, kv_token_budget=128)
    first, second, third = [1] * 60, [2] * 60, [3] * 60
    for tokens in (first, second, third):
        cache.free(compute(cache, tokens))
    assert admitted(cache, third) == 48
    assert admitted(cache, second) == 48
    assert admitted(cache, first) == 16  # its end went first


def test_a_refused_sequence_changes_nothing() -> None:
    cache = paged_cache(max_batch_size=2, max_context=64, kv_token_budget=64)
    running = compute(cache, [1] * 40)
    free = [cache.group(window).pool.num_free for window in (None, WINDOW)]
    waiting = sequence([1] * 60)
    assert not cache.admit(waiting)
    assert (waiting.row, waiting.num_cached) == (-1, 0)
    assert not cache.extend(running, 65)
    assert [cache.group(window).pool.num_free for window in (None, WINDOW)] == free
    assert cache.admit(sequence([2] * 10))
    assert not cache.admit(sequence([2]))  # no row is idle


@pytest.mark.parametrize("seed", range(5))
def test_over_random_lives_no_page_is_shared_while_it_changes(seed: int) -> None:
    chosen = random.Random(seed)
    cache = paged_cache(max_context=128, kv_token_budget=400, page_size=chosen.choice((1, 4, 16)))
    running: list[Sequence] = []
    for _ in range(300):
        prompt = [chosen.randint(1, 2)] * chosen.randint(1, 60) + [chosen.randint(1, 9)] * chosen.randint(0, 40)
        asking = sequence(prompt)
        if cache.admit(asking):
            running.append(asking)
        for each in running[:]:
            size = min(each.num_pending, chosen.randint(1, 30))
            if len(each.tokens) > 120 or not cache.extend(each, each.num_cached + size):
                cache.free(each)
                running.remove(each)
                continue
            check_writable(cache, running, each, size)
            cache.advance(each, size)
            if not each.num_pending:
                each.tokens.append(chosen.randint(1, 9))
    for each in running:
        cache.free(each)
    for window in (None, WINDOW):
        assert cache.group(window).pool.num_free == cache.group(window).pool.num_pages


def check_writable(cache: PagedCache, running: list[Sequence], writer: Sequence, size: int) -> None:
    """The slots that a pass writes are nobody else's."""
    for window in (None, WINDOW):
        group = cache.group(window)
        written = set(group.slots(writer.row, writer.num_cached, writer.num_cached + size).tolist())
        assert len(written) == size
        for other in running:
            seen = max(0, other.num_cached - (window or 10**6) + 1)
            if other is not writer and seen < other.num_cached:
                assert written.isdisjoint(group.slots(other.row, seen, other.num_cached).tolist())


def test_a_budget_below_one_context_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_token_budget 99 cannot hold max_context 100"):
        RuntimeConfig(max_context=100, kv_token_budget=99)


@pytest.mark.parametrize(
    "name", ["max_batch_size", "max_context", "max_waiting", "prefill_tokens", "max_pass_s", "page_size", "num_threads"]
)
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RuntimeConfig(**{name: 0})
