"""Drawing: exact cuts, right frequencies, and tokens that depend on nothing but the request itself."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.runtime.candidates import top_k_candidates
from model.runtime.draw import choose, cut, cut_unlikely, draw, uniform
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence

NUM_DRAWS = 20_000
PROBS = [0.4, 0.25, 0.15, 0.1, 0.06, 0.04]


def sequence(params: SamplingParams, num_generated: int = 0) -> Sequence:
    made = Sequence("r", [1, 2, 3], params)
    made.tokens += [0] * num_generated
    return made


def logits(rows: int) -> Tensor:
    return torch.tensor(PROBS).log().repeat(rows, 1)


def frequencies(params: SamplingParams) -> Tensor:
    """Of the first tokens of NUM_DRAWS requests that differ in their seed."""
    drawn = choose(logits(NUM_DRAWS), [sequence(replace(params, seed=seed)) for seed in range(NUM_DRAWS)])
    return torch.bincount(torch.tensor(drawn), minlength=len(PROBS)) / NUM_DRAWS


def assert_distributed(found: Tensor, expected: list[float]) -> None:
    """Chi-square against the exact distribution; 25 is beyond one in ten thousand for five degrees of freedom."""
    expected_V = torch.tensor(expected)
    assert torch.equal(found > 0, expected_V > 0)
    kept = expected_V > 0
    chi_square = NUM_DRAWS * ((found - expected_V)[kept] ** 2 / expected_V[kept]).sum()
    assert chi_square < 25


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(1), PROBS),
        (SamplingParams(1, top_k=2), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0, 0]),
        (SamplingParams(1, top_p=0.5), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0, 0]),
        (SamplingParams(1, top_p=0.66), [0.5, 0.3125, 0.1875, 0, 0, 0]),
        (SamplingParams(1, top_k=3, top_p=0.6), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0, 0]),
        (SamplingParams(1, top_k=100, top_p=1.0), PROBS),
        (SamplingParams(1, top_p=0.01), [1, 0, 0, 0, 0, 0]),
        (SamplingParams(1, temperature=0), [1, 0, 0, 0, 0, 0]),
        (SamplingParams(1, min_p=0.37), [0.5, 0.3125, 0.1875, 0, 0, 0]),
        (SamplingParams(1, min_p=1.0), [1, 0, 0, 0, 0, 0]),
    ],
)
def test_frequencies_equal_the_exact_distribution(params: SamplingParams, expected: list[float]) -> None:
    assert_distributed(frequencies(params), expected)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_bends_the_distribution(temperature: float) -> None:
    bent = [p ** (1 / temperature) for p in PROBS]
    assert_distributed(frequencies(SamplingParams(1, temperature=temperature)), [p / sum(bent) for p in bent])


def test_top_p_is_taken_of_what_top_k_leaves() -> None:
    # Of the three kept by k, two make up 0.65 / 0.8 > 0.8; of all six they would make only 0.65.
    kept = cut(logits(1), [SamplingParams(1, top_k=3, top_p=0.8)])[0].isfinite()
    assert kept.tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("min_p", "top_k", "top_p"),
    [(0.05, None, None), (0.3, 5, None), (0.02, None, 0.7), (0.0, 30, 0.9), (0.01, 30, 0.9), (1.0, None, None)],
)
def test_cuts_are_those_of_transformers(seed: int, min_p: float, top_k: int | None, top_p: float | None) -> None:
    params = SamplingParams(1, temperature=0.8, min_p=min_p, top_k=top_k, top_p=top_p)
    scores = torch.randn(8, 400, generator=torch.Generator().manual_seed(seed)) * 2
    theirs = [MinPLogitsWarper(min_p)] if min_p else []
    theirs += [TopKLogitsWarper(top_k)] if top_k else []
    theirs += [TopPLogitsWarper(top_p)] if top_p else []
    expected = LogitsProcessorList(theirs)(torch.zeros(8, 1, dtype=torch.int64), scores)
    assert torch.equal(cut(cut_unlikely(scores, [params] * 8), [params] * 8), expected)


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_what_the_cut_leaves_ties_and_forbidden_tokens_included(seed: int) -> None:
    generator, chosen = torch.Generator().manual_seed(seed), random.Random(seed)
    scores = torch.randint(0, 40, (6, 300), generator=generator) / 4  # many are equal
    scores = scores.masked_fill(torch.rand(6, 300, generator=generator) < 0.3, -torch.inf)
    scores[5, 3:] = -torch.inf  # fewer are left than any k asks for
    top_k = [chosen.choice([1, 2, 7, 50, 400]) for _ in range(6)]
    found_NK, ids_NK = top_k_candidates(scores, top_k)
    expected = cut(scores, [SamplingParams(1, top_k=k) for k in top_k])
    for row in range(6):
        kept = expected[row].isfinite().nonzero().flatten()
        assert ids_NK[row, : len(kept)].tolist() == kept.tolist()
        assert torch.equal(found_NK[row, : len(kept)], expected[row, kept].double())
        assert not found_NK[row, len(kept) :].isfinite().any()


def test_a_draw_among_candidates_is_the_draw_among_all() -> None:
    scores = torch.randn(1, 6000, generator=torch.Generator().manual_seed(1)) * 2
    for seed in range(300):
        params = SamplingParams(1, temperature=0.9, top_k=40, top_p=0.9, min_p=0.01, seed=seed)
        kept = cut(cut_unlikely(scores.double() / 0.9, [params]), [params])
        assert choose(scores, [sequence(params)]) == [int(draw(kept, [uniform(seed, 0)]))]


def test_each_row_is_cut_by_its_own_parameters() -> None:
    params = [
        SamplingParams(1, top_k=1),
        SamplingParams(1),
        SamplingParams(1, top_p=0.5),
        SamplingParams(1, temperature=0, top_k=1),
        SamplingParams(1, top_k=4),
    ]
    assert cut(logits(5), params).isfinite().sum(1).tolist() == [1, 6, 2, 6, 4]


def test_tokens_do_not_depend_on_the_rest_of_the_batch() -> None:
    chosen = random.Random(1)
    sequences = [
        sequence(
            SamplingParams(
                1,
                temperature=chosen.choice([0, 0.7, 1.5]),
                top_k=chosen.choice([None, 2, 50]),
                top_p=chosen.choice([None, 0.5, 0.9]),
                seed=i,
            ),
            num_generated=chosen.randint(0, 9),
        )
        for i in range(64)
    ]
    many = torch.randn(64, 300, generator=torch.Generator().manual_seed(1)) * 3
    alone = [choose(many[i : i + 1], [sequences[i]])[0] for i in range(64)]
    assert choose(many, sequences) == alone
    assert choose(many.flip(0), sequences[::-1]) == alone[::-1]


def test_a_seed_gives_the_same_tokens_and_another_gives_others() -> None:
    def tokens(seed: int | None) -> list[int]:
        params = SamplingParams(1, seed=seed)
        return choose(torch.zeros(50, 1000), [sequence(params, count) for count in range(50)])

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)
    assert len(set(tokens(1))) > 40
    assert tokens(None) != tokens(None)


def test_uniform_numbers_are_spread_evenly_over_seeds_and_counts() -> None:
    for numbers in ([uniform(7, count) for count in range(4096)], [uniform(seed, 0) for seed in range(4096)]):
        found = torch.histc(torch.tensor(numbers), bins=16, min=0, max=1)
        assert ((found - 256) ** 2 / 256).sum() < 45
        assert 0 <= min(numbers) <= max(numbers) < 1


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    row = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    almost_one = (2**48 - 1) / 2**48
    assert [int(draw(row, [number])) for number in (0.0, 0.4999, 0.5, almost_one)] == [1, 1, 3, 3]


def test_the_tail_of_a_large_vocabulary_can_be_drawn() -> None:
    flat = torch.zeros(1, 262_144)
    assert int(draw(flat, [0.75])) == 196_608
    assert int(draw(flat, [1 - 2**-40])) == 262_143
