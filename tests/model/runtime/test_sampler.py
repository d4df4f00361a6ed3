"""The sampler as a whole: the order of its steps, the log probabilities it reports, and rows that never meet."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.runtime.sampler import Drawn, Sampler
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence
from model.tokenizer import Tokenizer

VOCAB = 300


def logits(seed: int, rows: int) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def sequence(params: SamplingParams, answer: list[int] | None = None) -> Sequence:
    made = Sequence("r", [1, 2, 3], params)
    made.tokens += answer or []
    return made


def random_params(chosen: random.Random, seed: int) -> SamplingParams:
    return SamplingParams(
        1,
        temperature=chosen.choice([0, 0.7, 1.5]),
        top_k=chosen.choice([None, 2, 50]),
        top_p=chosen.choice([None, 0.5, 0.9]),
        seed=seed,
        min_p=chosen.choice([0.0, 0.1]),
        repetition_penalty=chosen.choice([1.0, 1.4]),
        presence_penalty=chosen.choice([0.0, 1.0]),
        frequency_penalty=chosen.choice([0.0, -0.5]),
        logit_bias=chosen.choice([{}, {7: 4.0, 8: -3.0}]),
        logprobs=chosen.choice([None, 0, 5]),
    )


def test_tokens_and_reports_do_not_depend_on_the_rest_of_the_batch(tokenizer: Tokenizer) -> None:
    chosen = random.Random(1)
    batch = [sequence(random_params(chosen, i), chosen.choices(range(VOCAB), k=i % 9)) for i in range(64)]
    many = logits(1, 64)
    alone = [Sampler(tokenizer).sample(many[i : i + 1].clone(), [batch[i]])[0] for i in range(64)]
    assert Sampler(tokenizer).sample(many.clone(), batch) == alone
    assert Sampler(tokenizer).sample(many.flip(0), batch[::-1]) == alone[::-1]


def test_a_request_with_defaults_leaves_the_scores_alone(tokenizer: Tokenizer) -> None:
    scores = logits(1, 2)
    before = scores.clone()
    drawn = Sampler(tokenizer).sample(scores, [sequence(SamplingParams(1, temperature=0)) for _ in range(2)])
    assert torch.equal(scores, before)
    assert drawn == [Drawn(token) for token in before.argmax(1).tolist()]


@pytest.mark.parametrize(
    ("params", "answer", "expected"),
    [
        (SamplingParams(1, temperature=0), [], 10),
        (SamplingParams(1, temperature=0, logit_bias={12: 100.0}), [], 12),
        (SamplingParams(1, temperature=0, logit_bias={10: -100.0}), [], 11),
        (SamplingParams(1, temperature=0, presence_penalty=2.0), [10], 11),
        (SamplingParams(1, temperature=0, frequency_penalty=0.9), [10, 10], 11),
        (SamplingParams(1, temperature=0, repetition_penalty=1.5), [10], 11),
        # The bias comes first: 4 + 2 halved is behind 3.5, 4 halved plus 2 would be before it.
        (SamplingParams(1, temperature=0, repetition_penalty=2.0, logit_bias={10: 2.0}), [10], 11),
    ],
)
def test_greedy_answers_respect_bias_and_penalties(
    tokenizer: Tokenizer, params: SamplingParams, answer: list[int], expected: int
) -> None:
    scores = torch.zeros(1, VOCAB)
    scores[0, 10:13] = torch.tensor([4.0, 3.5, 1.0])
    assert Sampler(tokenizer).sample(scores, [sequence(params, answer)]) == [Drawn(expected)]


def test_numbers_near_zero_leave_a_distribution_to_draw_from(tokenizer: Tokenizer) -> None:
    likeliest = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(1))
    for seed in range(5):
        cold = SamplingParams(1, temperature=1e-44, min_p=1e-44, seed=seed)
        drawn = Sampler(tokenizer).sample(likeliest.clone(), [sequence(cold)])
        assert drawn == [Drawn(int(likeliest.argmax()))]
        repeating = SamplingParams(1, repetition_penalty=1e-44, temperature=0.01, seed=seed)
        scores = likeliest.abs()
        assert Sampler(tokenizer).sample(scores, [sequence(repeating)])[0].token_id in (1, 2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_log_probabilities_are_those_of_the_model_whatever_sampling_did(tokenizer: Tokenizer, seed: int) -> None:
    params = SamplingParams(
        1, temperature=1.7, top_k=9, repetition_penalty=2.0, logit_bias={5: 50.0}, logprobs=4, seed=seed
    )
    scores = logits(seed, 3)
    exact = torch.log(torch.exp(scores.double()) / torch.exp(scores.double()).sum(1, keepdim=True))
    batch = [sequence(replace(params, logprobs=count)) for count in (4, None, 0)]
    drawn = Sampler(tokenizer).sample(scores, batch)
    assert [item.logprobs is None for item in drawn] == [False, True, False]
    for row, count in ((0, 4), (2, 0)):
        report = drawn[row].logprobs
        assert report is not None
        best = exact[row].topk(count)
        entries = [report.chosen, *report.top]
        assert [entry.token_id for entry in entries] == [drawn[row].token_id, *best.indices.tolist()]
        expected = [float(exact[row, drawn[row].token_id]), *best.values.tolist()]
        assert [entry.logprob for entry in entries] == pytest.approx(expected, abs=1e-5)
        assert [entry.token for entry in entries] == [tokenizer.token_bytes(entry.token_id) for entry in entries]
