"""Media through the runtime: chunks, batches and the cache change nothing against plain passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.full_attention import FullAttention
from model.multimodal import GemmaModel, load_multimodal
from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.prompt_media import PromptMedia
from model.soft_rows import SoftTokens, place
from model.tokenizer import Tokenizer
from tests.model.media_checkpoint import AUDIO_ID, IMAGE_ID, VIDEO_ID, MakeMediaCheckpoint, make_media_checkpoint
from tests.model.runtime.driver import Gathered, generate, greedy

__all__ = ["make_media_checkpoint"]
NUM_TOKENS = 12
# Images longer than the sliding window and than a chunk, back to back with text, and one at the very end.
LAYOUT = [5, 6, 7, *[IMAGE_ID] * 21, 8, 9, *[VIDEO_ID] * 9, 10, *[IMAGE_ID] * 4, 11, *[VIDEO_ID] * 3, 12]
SOUND = [5, 6, *[AUDIO_ID] * 17, 7, *[IMAGE_ID] * 5, 8]


def _soft(model: GemmaModel, prompt: list[int], seed: int) -> dict[str, list[Tensor]]:
    """Stand-ins for what the encoders make: one block of random embeddings a modality."""
    generator = torch.Generator().manual_seed(seed)
    size = model.config.text.hidden_size
    counts = {"image": prompt.count(IMAGE_ID), "video": prompt.count(VIDEO_ID), "audio": prompt.count(AUDIO_ID)}
    return {name: [torch.randn(count, size, generator=generator)] for name, count in counts.items() if count}


def _plain_greedy(model: GemmaModel, prompt: list[int], soft: SoftTokens, blocks: Tensor | None) -> list[int]:
    tokens = list(prompt)
    for _ in range(NUM_TOKENS):
        padding = torch.full((len(tokens) - len(prompt),), -1)
        all_blocks = None if blocks is None else torch.cat([blocks, padding])
        cache = FullAttention([len(tokens)], all_blocks)
        last = torch.tensor([len(tokens) - 1])
        logits = model.text(torch.tensor(tokens), torch.arange(len(tokens)), cache, last, soft)
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("prefill_tokens", [8, 16, 512])
@pytest.mark.parametrize("variant", ["e2b", "e4b", "26b-a4b", "31b"])
def test_greedy_answers_equal_plain_passes(
    make_media_checkpoint: MakeMediaCheckpoint, tokenizer: Tokenizer, variant: str, prefill_tokens: int
) -> None:
    model = load_multimodal(make_media_checkpoint(variant, 1))
    prompts = [LAYOUT] if variant in ("26b-a4b", "31b") else [LAYOUT, SOUND]
    soft = [_soft(model, prompt, seed) for seed, prompt in enumerate(prompts)]
    media = [PromptMedia.of(prompt, item, model.config) for prompt, item in zip(prompts, soft, strict=True)]
    expected = [
        _plain_greedy(model, prompt, place(torch.tensor(prompt), item, model.config), each.blocks_P)
        for prompt, item, each in zip(prompts, soft, media, strict=True)
    ]
    text = [[20, 21, 22, 23], list(range(30, 60))]
    config = RuntimeConfig(max_batch_size=3, max_context=256, prefill_tokens=prefill_tokens, num_threads=1)
    with EngineLoop(model.text, tokenizer, config, eos_token_ids=()) as loop:
        alone = [answer.tokens for answer in generate(loop, text, [greedy(NUM_TOKENS)] * 2)]
        seen = [Gathered() for _ in prompts]
        for number, (prompt, item) in enumerate(zip(prompts, media, strict=True)):
            loop.submit(f"m{number}", prompt, greedy(NUM_TOKENS), seen[number], item)
        beside = [answer.tokens for answer in generate(loop, text, [greedy(NUM_TOKENS)] * 2)]
        answers = [gathered.wait().tokens for gathered in seen]
    assert answers == expected
    assert beside == alone


def test_a_chunk_never_cuts_an_image_that_sees_itself(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    model = load_multimodal(make_media_checkpoint("31b", 1))
    media = PromptMedia.of(LAYOUT, _soft(model, LAYOUT, 0), model.config)
    begin = LAYOUT.index(IMAGE_ID)
    assert media.whole_blocks(0, begin + 5) == begin
    assert media.whole_blocks(begin, begin + 5) == begin + 21
    assert media.whole_blocks(0, begin) == begin
    assert media.whole_blocks(begin, begin + 21) == begin + 21
    assert media.whole_blocks(0, len(LAYOUT)) == len(LAYOUT)


NAMES = {name: [name.encode()] for name in ("image", "audio", "video")}


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("variant", ["e2b", "31b"])
def test_cached_media_answer_as_computed_ones_do(
    make_media_checkpoint: MakeMediaCheckpoint, tokenizer: Tokenizer, variant: str, page_size: int
) -> None:
    """Prompts that end alike inside, before and behind images, one after the other on one cache."""
    model = load_multimodal(make_media_checkpoint(variant, 1))
    soft = _soft(model, LAYOUT, 0)
    media = PromptMedia.of(LAYOUT, soft, model.config, NAMES)
    placed = place(torch.tensor(LAYOUT), soft, model.config)
    limits = {"max_batch_size": 2, "max_context": 256, "num_threads": 1, "page_size": page_size}
    with EngineLoop(model.text, tokenizer, RuntimeConfig(**limits), eos_token_ids=()) as loop:
        for more in ([], [20], [20, 21], [30]):
            expected = _plain_greedy(model, LAYOUT + more, placed, _longer(media.blocks_P, len(more)))
            seen = Gathered()
            loop.submit("a", LAYOUT + more, greedy(NUM_TOKENS), seen, media)
            assert seen.wait().tokens == expected
        assert loop.stats().reused_prompt_tokens >= 3 * (len(LAYOUT) - page_size)


def _longer(blocks: Tensor | None, count: int) -> Tensor | None:
    return None if blocks is None else torch.cat([blocks, torch.full((count,), -1)])


def test_an_image_of_another_name_is_not_reused(
    make_media_checkpoint: MakeMediaCheckpoint, tokenizer: Tokenizer
) -> None:
    model = load_multimodal(make_media_checkpoint("e2b", 1))
    config = RuntimeConfig(max_batch_size=2, max_context=256, num_threads=1, page_size=1)
    with EngineLoop(model.text, tokenizer, config, eos_token_ids=()) as loop:
        for seed, names in ((0, NAMES), (1, NAMES | {"image": [b"another"]}), (2, None), (2, None)):
            soft = _soft(model, LAYOUT, seed)
            media = PromptMedia.of(LAYOUT, soft, model.config, names)
            before = loop.stats().reused_prompt_tokens
            seen = Gathered()
            loop.submit("a", LAYOUT, greedy(NUM_TOKENS), seen, media)
            placed = place(torch.tensor(LAYOUT), soft, model.config)
            assert seen.wait().tokens == _plain_greedy(model, LAYOUT, placed, None)
            if seed > 0:
                assert loop.stats().reused_prompt_tokens - before == LAYOUT.index(IMAGE_ID)
