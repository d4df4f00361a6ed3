"""Greedy answers of the runtime equal transformers' `generate`, alone and in a batch that others join and leave."""

import pytest

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.tokenizer import Tokenizer
from tests.model.conftest import VARIANT_NAMES
from tests.model.runtime.conftest import MakeToy, random_prompt
from tests.model.runtime.driver import generate, greedy

NUM_TOKENS = 64


@pytest.mark.parametrize(("seed", "size"), [(1, "small"), (2, "medium")])
@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_greedy_answers_equal_transformers(
    variant: str, seed: int, size: str, make_toy: MakeToy, tokenizer: Tokenizer
) -> None:
    toy = make_toy(variant, seed, size)
    prompts = [random_prompt(seed + length, length) for length in (5, 1, 43)]
    assert max(map(len, prompts)) > 2 * toy.model.config.sliding_window
    expected = [toy.greedy(prompt, NUM_TOKENS) for prompt in prompts]
    # Two rows for three requests: the last joins when one leaves. Chunks of 16 cut the long prompt.
    config = RuntimeConfig(max_batch_size=2, max_context=256, prefill_tokens=16, num_threads=1)
    with EngineLoop(toy.model, tokenizer, config, eos_token_ids=()) as loop:
        answers = generate(loop, prompts, [greedy(NUM_TOKENS)] * 3)
    assert [answer.tokens for answer in answers] == expected
