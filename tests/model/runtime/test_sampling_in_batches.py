"""Every sampling option through the engine loop: alone, together, backwards and preempted, the tokens are the same."""

import pytest
import torch

from model.runtime.loop import EngineLoop
from model.runtime.output import TokenLogprobs
from model.runtime.sampling import SamplingParams
from tests.model.runtime.conftest import MakeToy, StartLoop, random_prompt
from tests.model.runtime.driver import Gathered, generate, submit

PROMPTS = [random_prompt(i, 5 + 3 * i) for i in range(6)]
PARAMS = [
    SamplingParams(40, seed=0, ignore_eos=True, min_p=0.05, repetition_penalty=1.3, logprobs=2),
    SamplingParams(40, seed=1, ignore_eos=True, frequency_penalty=0.8),
    SamplingParams(40, temperature=0, ignore_eos=True, presence_penalty=1.5, logprobs=0),
    SamplingParams(40, seed=3, ignore_eos=True),
    SamplingParams(40, temperature=0.5, seed=4, ignore_eos=True, logit_bias={10: 3.0, 11: -50.0}, logprobs=20),
    SamplingParams(40, seed=5, ignore_eos=True, top_k=30, repetition_penalty=0.8, frequency_penalty=-0.5),
]


def reports(answer: Gathered) -> list[TokenLogprobs]:
    return [report for output in answer.outputs for report in output.logprobs]


def alone(loop: EngineLoop) -> list[list[int]]:
    return [generate(loop, [prompt], [param])[0].tokens for prompt, param in zip(PROMPTS, PARAMS, strict=True)]


def test_tokens_are_the_same_alone_and_in_any_batch(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=6)
    expected = alone(loop)
    assert [answer.tokens for answer in generate(loop, PROMPTS, PARAMS)] == expected
    assert [answer.tokens for answer in generate(loop, PROMPTS[::-1], PARAMS[::-1])] == expected[::-1]


def test_tokens_are_the_same_when_the_cache_preempts(start_loop: StartLoop) -> None:
    tight = start_loop(max_batch_size=6, max_context=64, kv_token_budget=128)
    expected = alone(start_loop(max_context=64))
    assert [answer.tokens for answer in generate(tight, PROMPTS, PARAMS)] == expected
    assert tight.stats().preemptions > 0


@pytest.mark.parametrize("variant", ["e2b", "26b-a4b"])
def test_log_probabilities_are_those_of_transformers(start_loop: StartLoop, make_toy: MakeToy, variant: str) -> None:
    loop = start_loop(variant, max_batch_size=6)
    for prompt, param, answer in zip(PROMPTS, PARAMS, generate(loop, PROMPTS, PARAMS), strict=True):
        found = reports(answer)
        if param.logprobs is None:
            assert found == []
            continue
        assert [report.chosen.token_id for report in found] == answer.tokens
        ids = torch.tensor([prompt + answer.tokens])
        logits_TV = make_toy(variant).reference(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        expected_TV = logits_TV.double().log_softmax(-1)
        for row, report in enumerate(found):
            best = expected_TV[row].topk(param.logprobs)
            exact = [float(expected_TV[row, report.chosen.token_id]), *best.values.tolist()]
            assert [entry.logprob for entry in (report.chosen, *report.top)] == pytest.approx(exact, abs=1e-4)


def test_a_bias_beyond_the_vocabulary_is_refused(start_loop: StartLoop) -> None:
    with pytest.raises(ValueError, match="logit_bias"):
        submit(start_loop(), "a", PROMPTS[0], SamplingParams(1, logit_bias={10**6: 1.0}))
