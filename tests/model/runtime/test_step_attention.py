"""The slot cache's attention equals the plain one: in chunks, in batches, mixed, after moves and growth."""

import random

import pytest
import torch
from torch import Tensor

from model.attention import KVCache
from model.full_attention import FullAttention
from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import SlotCache
from model.runtime.step_attention import DecodeAttention, PrefillAttention, StepAttention
from model.transformer import Transformer
from tests.model.conftest import VARIANT_NAMES
from tests.model.runtime.conftest import MakeToy, random_prompt

CPU = torch.device("cpu")


class Rows:
    """Sequences in cache rows, computed piece by piece; every piece's logits are checked against the whole."""

    def __init__(self, model: Transformer, sequences: list[list[int]]) -> None:
        self.model = model
        self.cache = SlotCache(model.config, RuntimeConfig(max_batch_size=8, max_context=256), torch.float32, CPU)
        self.sequences = sequences
        self.done = [0] * len(sequences)
        self.whole = [self._whole(tokens) for tokens in sequences]

    def _whole(self, tokens: list[int]) -> Tensor:
        return self.model(torch.tensor(tokens), torch.arange(len(tokens)), FullAttention([len(tokens)]))

    def step(self, num_decoding: int, chunks: dict[int, int]) -> None:
        """One pass: a token for each of rows 0..num_decoding-1, and `chunks` = {row: size} of prompts."""
        self.cache.reserve(len(self.sequences), max(done + chunks.get(i, 1) for i, done in enumerate(self.done)))
        rows = list(range(num_decoding))
        parts: list[tuple[int, KVCache]] = []
        if rows:
            positions = [self.done[row] for row in rows]
            parts.append((len(rows), DecodeAttention(self.cache, positions, torch.tensor(positions))))
        for row, size in chunks.items():
            parts.append((size, PrefillAttention(self.cache, row, self.done[row], size, CPU)))
        pieces = [(row, 1) for row in rows] + list(chunks.items())
        tokens = [t for row, size in pieces for t in self.sequences[row][self.done[row] : self.done[row] + size]]
        positions_T = torch.tensor([p for row, size in pieces for p in range(self.done[row], self.done[row] + size)])
        logits = self.model(torch.tensor(tokens), positions_T, StepAttention(parts))
        for (row, size), ours in zip(pieces, logits.split([size for _, size in pieces]), strict=True):
            theirs = self.whole[row][self.done[row] : self.done[row] + size]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-4)
            self.done[row] += size

    def move(self, source: int, target: int) -> None:
        self.cache.move(source, target, self.done[source])
        for values in (self.sequences, self.done, self.whole):
            values[target] = values[source]  # type: ignore[index]


@pytest.fixture(params=VARIANT_NAMES)
def model(request: pytest.FixtureRequest, make_toy: MakeToy) -> Transformer:
    return make_toy(request.param).model


@torch.inference_mode()
def test_a_prompt_in_chunks_equals_the_whole(model: Transformer) -> None:
    assert model.config.sliding_window == 8
    for sizes in ([60], [8, 8, 8, 36], [7, 1, 9, 43], [1] * 20 + [40]):
        rows = Rows(model, [random_prompt(3, 60)])
        for size in sizes:
            rows.step(0, {0: size})


@torch.inference_mode()
def test_several_prompts_in_one_pass_equal_each_alone(model: Transformer) -> None:
    rows = Rows(model, [random_prompt(i, length) for i, length in enumerate((30, 1, 8, 17))])
    rows.step(0, {0: 30, 1: 1, 2: 8, 3: 10})
    rows.step(0, {3: 7})


@torch.inference_mode()
def test_decoding_rows_of_different_length_equal_the_whole(model: Transformer) -> None:
    rows = Rows(model, [random_prompt(i, 60) for i in range(4)])
    rows.step(0, {0: 1, 1: 7, 2: 20, 3: 40})
    for _ in range(20):
        rows.step(4, {})


@torch.inference_mode()
def test_a_prompt_beside_decoding_rows_changes_neither(model: Transformer) -> None:
    rows = Rows(model, [random_prompt(i, 80) for i in range(3)])
    rows.step(0, {0: 5, 1: 33})
    for size in (3, 20, 9):
        rows.step(2, {2: size})


@torch.inference_mode()
def test_random_schedules_with_moves_and_growth(model: Transformer) -> None:
    chosen = random.Random(4)
    rows = Rows(model, [random_prompt(i, 150) for i in range(5)])
    rows.step(0, {row: chosen.randint(1, 30) for row in range(5)})
    for _ in range(12):
        num_decoding = chosen.randint(0, 4)
        rows.step(num_decoding, {4: chosen.randint(1, 5)})
        rows.move(chosen.randint(0, 3), chosen.randint(0, 3))


@torch.inference_mode()
def test_what_a_row_held_before_leaves_no_trace(model: Transformer) -> None:
    rows = Rows(model, [random_prompt(1, 60), random_prompt(2, 60)])
    rows.step(0, {0: 50, 1: 50})
    rows.done[0] = 0
    rows.step(0, {0: 3})
    for _ in range(9):
        rows.step(2, {})
