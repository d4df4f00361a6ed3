"""What only the echo engine promises: the prompt's own text, nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.engines.base import EngineOutput, EngineRequest, FinishReason
from cluster.engines.echo import EchoEngine
from cluster.errors import NotSupported
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer


async def _echo(tokenizer: Tokenizer, tokens: list[int], max_tokens: int = 100) -> list[EngineOutput]:
    engine = EchoEngine(tokenizer)
    return [
        output async for output in engine.generate(EngineRequest("r", tokens, SamplingParams(max_tokens=max_tokens)))
    ]


@pytest.mark.parametrize("text", ["one two three", "naïve 日本語 😀", "😀"])
async def test_it_repeats_the_prompt_a_token_at_a_time(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    outputs = await _echo(tokenizer, tokens)
    assert "".join(output.text for output in outputs) == text
    assert [output.token_count for output in outputs] == [1] * len(tokens)
    assert outputs[-1].finish_reason == FinishReason.STOP


async def test_half_a_character_at_the_end_is_shown_as_such(tokenizer: Tokenizer) -> None:
    outputs = await _echo(tokenizer, tokenizer.encode("a😀"), max_tokens=2)
    assert [output.text for output in outputs] == ["a", "\ufffd"]
    assert outputs[-1].finish_reason == FinishReason.LENGTH


async def test_control_tokens_are_left_out(tokenizer: Tokenizer) -> None:
    outputs = await _echo(tokenizer, [*tokenizer.special_ids, *tokenizer.encode("x")])
    assert [output.text for output in outputs] == ["x"]


async def test_a_prompt_of_control_tokens_has_an_empty_answer(tokenizer: Tokenizer) -> None:
    outputs = await _echo(tokenizer, list(tokenizer.special_ids))
    assert [(output.text, output.finish_reason) for output in outputs] == [("", FinishReason.STOP)]


@pytest.mark.parametrize("asked", [{"logprobs": 0}, {"response_format": ResponseFormat("json_object")}])
async def test_what_takes_a_model_is_not_supported_and_named(tokenizer: Tokenizer, asked: dict[str, Any]) -> None:
    request = EngineRequest("r", tokenizer.encode("a b"), SamplingParams(5, **asked))
    with pytest.raises(NotSupported, match=f"generation_config.{next(iter(asked))}"):
        await anext(EchoEngine(tokenizer).generate(request))


async def test_other_sampling_changes_nothing(tokenizer: Tokenizer) -> None:
    sampling = SamplingParams(5, min_p=0.5, presence_penalty=2.0, repetition_penalty=2.0, logit_bias={3: 9.0})
    outputs = EchoEngine(tokenizer).generate(EngineRequest("r", tokenizer.encode("a b"), sampling))
    assert "".join([output.text async for output in outputs]) == "a b"
