"""The paged cache's attention equals the plain one: in chunks, in batches, mixed, over reused and scattered pages."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from model.attention import KVCache
from model.config import AttentionShape
from model.full_attention import FullAttention
from model.kernels.loading import decode_attention
from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import PagedCache
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence
from model.runtime.step_attention import DecodeAttention, PrefillAttention, StepAttention
from model.transformer import Transformer
from model.variants import E2B, layer_pattern
from tests.model.conftest import VARIANT_NAMES
from tests.model.runtime.conftest import MakeToy, random_prompt

if TYPE_CHECKING:
    from model.kernels.decode_attention import DecodeAttentionKernel

CPU = torch.device("cpu")


class Passes:
    """Sequences computed piece by piece; every piece's logits are checked against the whole."""

    kernel: DecodeAttentionKernel | None = None

    def __init__(self, model: Transformer, sequences: list[list[int]], **limits: int) -> None:
        self.model = model
        config = RuntimeConfig(**{"max_batch_size": 8, "max_context": 256, "page_size": 4} | limits)
        self.cache = PagedCache(model.config, config, torch.float32, CPU)
        self.sequences = [Sequence(str(i), tokens, SamplingParams(1)) for i, tokens in enumerate(sequences)]
        self.whole = [self._whole(tokens) for tokens in sequences]
        for sequence in self.sequences:
            assert self.cache.admit(sequence)

    def _whole(self, tokens: list[int]) -> Tensor:
        return self.model(torch.tensor(tokens), torch.arange(len(tokens)), FullAttention([len(tokens)]))

    def restart(self, number: int) -> None:
        """Frees a sequence and admits it again, with whatever the cache still has of it."""
        self.cache.free(self.sequences[number])
        assert self.cache.admit(self.sequences[number])

    def step(self, decoding: list[int], chunks: dict[int, int]) -> None:
        """One pass: a token for each of the `decoding`, and `chunks` = {number: size} of prompts."""
        pieces = [(self.sequences[i], 1) for i in decoding] + [(self.sequences[i], n) for i, n in chunks.items()]
        for sequence, size in pieces:
            assert self.cache.extend(sequence, sequence.num_cached + size)
        places = [range(sequence.num_cached, sequence.num_cached + size) for sequence, size in pieces]
        tokens = [sequence.tokens[p] for (sequence, _), place in zip(pieces, places, strict=True) for p in place]
        positions = torch.tensor([p for place in places for p in place])
        logits = self.model(torch.tensor(tokens), positions, StepAttention(self._parts(decoding, chunks)))
        for (sequence, size), place, ours in zip(pieces, places, logits.split([n for _, n in pieces]), strict=True):
            theirs = self.whole[int(sequence.request_id)][place.start : place.stop]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-4)
            self.cache.advance(sequence, size)

    def _parts(self, decoding: list[int], chunks: dict[int, int]) -> list[tuple[int, KVCache]]:
        parts: list[tuple[int, KVCache]] = []
        if decoding:
            running = [self.sequences[i] for i in decoding]
            rows, positions = [s.row for s in running], [s.num_cached for s in running]
            parts.append((len(rows), DecodeAttention(self.cache, rows, positions, CPU, self.kernel)))
        for number, size in chunks.items():
            sequence = self.sequences[number]
            parts.append((size, PrefillAttention(self.cache, sequence.row, sequence.num_cached, size, CPU)))
        return parts


@pytest.fixture(params=VARIANT_NAMES)
def model(request: pytest.FixtureRequest, make_toy: MakeToy) -> Transformer:
    return make_toy(request.param).model


@torch.inference_mode()
def test_a_prompt_in_chunks_equals_the_whole(model: Transformer) -> None:
    assert model.config.sliding_window == 8
    for sizes in ([60], [8, 8, 8, 36], [7, 1, 9, 43], [1] * 20 + [40]):
        passes = Passes(model, [random_prompt(3, 60)])
        for size in sizes:
            passes.step([], {0: size})


@torch.inference_mode()
def test_several_prompts_in_one_pass_equal_each_alone(model: Transformer) -> None:
    passes = Passes(model, [random_prompt(i, length) for i, length in enumerate((30, 1, 8, 17))])
    passes.step([], {0: 30, 1: 1, 2: 8, 3: 10})
    passes.step([], {3: 7})


@torch.inference_mode()
def test_decoding_rows_of_different_length_equal_the_whole(model: Transformer) -> None:
    passes = Passes(model, [random_prompt(i, 60) for i in range(4)])
    passes.step([], {0: 1, 1: 7, 2: 20, 3: 40})
    for _ in range(20):
        passes.step([3, 0, 2, 1], {})


@torch.inference_mode()
def test_a_prompt_beside_decoding_rows_changes_neither(model: Transformer) -> None:
    passes = Passes(model, [random_prompt(i, 80) for i in range(3)])
    passes.step([], {0: 5, 1: 33})
    for size in (3, 20, 9):
        passes.step([0, 1], {2: size})


@torch.inference_mode()
@pytest.mark.parametrize("page_size", [1, 4, 7, 16])
def test_random_schedules_over_scattered_pages(model: Transformer, page_size: int) -> None:
    chosen = random.Random(4)
    passes = Passes(model, [random_prompt(i, 150) for i in range(5)], page_size=page_size)
    passes.step([], {number: chosen.randint(1, 30) for number in range(5)})
    for _ in range(12):
        decoding = chosen.sample(range(4), chosen.randint(0, 4))
        passes.step(decoding, {4: chosen.randint(1, 5)})


@torch.inference_mode()
def test_reused_pages_hold_what_would_be_computed(model: Transformer) -> None:
    alike = random_prompt(1, 40)
    passes = Passes(model, [alike + random_prompt(i, 20) for i in (2, 3)])
    passes.step([], {0: 60, 1: 45})
    passes.restart(0)
    assert passes.sequences[0].num_cached == 56
    passes.step([], {0: 2})
    passes.restart(1)
    assert passes.sequences[1].num_cached == 44
    for _ in range(2):
        passes.step([0, 1], {})


@torch.inference_mode()
def test_what_a_page_held_before_leaves_no_trace(model: Transformer) -> None:
    # Room for two sequences and no more, and nothing to be reused: pages change hands all the time.
    limits = {"kv_token_budget": 128, "max_context": 64, "max_batch_size": 2, "has_prefix_cache": False}
    passes = Passes(model, [random_prompt(1, 60), random_prompt(2, 60)], **limits)
    for size in (50, 3, 30):
        passes.restart(0)
        passes.restart(1)
        passes.step([], {1: 50 - size // 2})
        passes.step([], {0: size})
        for _ in range(9):
            passes.step([0, 1], {})


def wide_heads() -> Transformer:
    """E2B's structure with heads that the kernel takes: layers that share keys and values, and windows."""
    text = replace(
        E2B.text,
        vocab_size=300,
        per_layer_vocab_size=300,
        hidden_size=64,
        per_layer_size=16,
        mlp_size=64,
        layer_kinds=layer_pattern(10, locals_per_global=4),
        local=AttentionShape(head_dim=64, num_kv_heads=1, rope=E2B.text.local.rope),
        global_=AttentionShape(head_dim=128, num_kv_heads=1, rope=E2B.text.global_.rope),
        sliding_window=8,
        num_kv_shared_layers=4,
    )
    torch.manual_seed(0)
    return Transformer(text).requires_grad_(False)


@torch.inference_mode()
@pytest.mark.skipif(decode_attention() is None, reason="this CPU has no AVX-512")
def test_attending_in_place_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Passes, "kernel", decode_attention())
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", _only_of_prompts)
    passes = Passes(wide_heads(), [random_prompt(i, 60) for i in range(4)])
    passes.step([], {0: 1, 1: 7, 2: 20, 3: 30})
    for _ in range(10):
        passes.step([3, 0, 2, 1], {})
    passes.step([1, 2], {3: 9})


def _only_of_prompts(q: Tensor, *rest: Tensor, enable_gqa: bool = False, **more: object) -> Tensor:
    assert enable_gqa, "a decoding row went to torch's attention"
    return _SDPA(q, *rest, enable_gqa=enable_gqa, **more)


_SDPA = torch.nn.functional.scaled_dot_product_attention
