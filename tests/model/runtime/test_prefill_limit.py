"""The prefill limit: full chunks alone, chunks by the clock beside running answers."""

from model.runtime.config import RuntimeConfig
from model.runtime.prefill_limit import PrefillLimit

CONFIG = RuntimeConfig(prefill_tokens=512, max_pass_s=0.1)


def test_alone_or_unmeasured_a_prompt_takes_the_whole_limit() -> None:
    limit = PrefillLimit(CONFIG)
    assert limit.tokens(is_decoding=True) == 512
    limit.observe(512, 5.0)
    assert limit.tokens(is_decoding=False) == 512


def test_beside_answers_a_chunk_fits_the_time() -> None:
    limit = PrefillLimit(CONFIG)
    limit.observe(512, 0.512)
    assert limit.tokens(is_decoding=True) == 100


def test_a_slow_model_still_goes_on_and_a_fast_one_keeps_to_the_limit() -> None:
    slow, fast = PrefillLimit(CONFIG), PrefillLimit(CONFIG)
    slow.observe(512, 60)
    fast.observe(512, 0.001)
    assert (slow.tokens(is_decoding=True), fast.tokens(is_decoding=True)) == (32, 512)


def test_it_follows_the_speed_and_ignores_passes_too_short_to_tell() -> None:
    limit = PrefillLimit(CONFIG)
    limit.observe(512, 0.512)
    limit.observe(3, 1.0)
    assert limit.tokens(is_decoding=True) == 100
    for _ in range(20):
        limit.observe(100, 0.2)
    assert 50 <= limit.tokens(is_decoding=True) < 51
