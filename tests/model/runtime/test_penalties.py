"""Penalties and biases against transformers' processors and plain numpy, while sequences come, move and go."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from model.runtime.bias import TokenBias
from model.runtime.penalties import Penalties
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence

VOCAB = 50


def logits(seed: int, rows: int) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 5


def sequence(chosen: random.Random, num_generated: int = 0, **params: Any) -> Sequence:
    made = Sequence("r", chosen.choices(range(VOCAB), k=chosen.randint(1, 20)), SamplingParams(100, **params))
    made.tokens += chosen.choices(range(VOCAB), k=num_generated)
    return made


def random_params(chosen: random.Random) -> dict[str, float]:
    return {
        "repetition_penalty": chosen.choice([1.0, 0.5, 1.3, 4.0]),
        "presence_penalty": chosen.choice([0.0, -1.5, 0.7]),
        "frequency_penalty": chosen.choice([0.0, -0.25, 1.1]),
    }


def by_formula(row_V: np.ndarray, sequence: Sequence) -> np.ndarray:
    """The same, token by token, as OpenAI's and the CTRL paper's definitions read."""
    params, answer = sequence.params, sequence.tokens[sequence.prompt_length :]
    scores = row_V.astype(np.float64)
    for token in set(sequence.tokens):
        factor = params.repetition_penalty
        scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
    for token in set(answer):
        scores[token] -= params.presence_penalty + params.frequency_penalty * answer.count(token)
    return scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("penalty", [0.4, 1.2, 7.0])
def test_repetition_is_that_of_transformers(seed: int, penalty: float) -> None:
    made = sequence(random.Random(seed), num_generated=15, repetition_penalty=penalty)
    scores = logits(seed, 1)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([made.tokens]), scores.clone())
    Penalties().apply_to(scores, [made])
    assert torch.equal(scores, expected)


@pytest.mark.parametrize("seed", range(5))
def test_penalties_follow_sequences_that_come_move_and_go(seed: int) -> None:
    """Also those that were preempted for a while, and steps that failed and are tried again."""
    chosen, penalties = random.Random(seed), Penalties()
    everyone = [sequence(chosen, chosen.randint(0, 3), **random_params(chosen)) for _ in range(9)]
    batch: list[Sequence] = []
    for step in range(40):
        batch = chosen.sample(everyone, chosen.randint(1, 6)) if step % 3 == 0 else batch
        scores = logits(step, len(batch))
        expected = [by_formula(row, made) for row, made in zip(scores.numpy(), batch, strict=True)]
        penalties.apply_to(scores, batch)
        torch.testing.assert_close(scores.double(), torch.tensor(np.array(expected)), rtol=1e-6, atol=1e-5)
        for made in batch if chosen.random() < 0.9 else []:
            made.tokens.append(chosen.randrange(VOCAB))


def test_rows_without_penalties_stay_as_they_are() -> None:
    chosen = random.Random(1)
    batch = [sequence(chosen, 5, frequency_penalty=float(row % 2)) for row in range(6)]
    scores = logits(1, 6)
    before = scores.clone()
    Penalties().apply_to(scores, batch)
    assert torch.equal(scores[::2], before[::2])
    assert not torch.equal(scores[1::2], before[1::2])


def test_presence_and_frequency_look_at_the_answer_alone() -> None:
    made = sequence(random.Random(2), presence_penalty=2.0, frequency_penalty=2.0)
    scores = logits(2, 1)
    before = scores.clone()
    Penalties().apply_to(scores, [made])
    assert torch.equal(scores, before)


@pytest.mark.parametrize("seed", range(3))
def test_biases_are_added_to_their_tokens_alone(seed: int) -> None:
    chosen, bias = random.Random(seed), TokenBias()
    biases = [{}, {3: 1.5, 49: -100.0}, {}, {0: 100.0}]
    batch = [sequence(chosen, logit_bias=item) for item in biases]
    for _ in range(20):
        chosen.shuffle(batch)
        some = batch[: chosen.randint(1, 4)]
        scores = logits(seed, len(some))
        expected = scores.clone()
        for row, made in enumerate(some):
            for token, value in made.params.logit_bias.items():
                expected[row, token] += value
        bias.add_to(scores, some)
        assert torch.equal(scores, expected)
