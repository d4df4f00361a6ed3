"""Plans: the fewest GPUs, honest numbers, advice that holds, and laws that no table can break."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.planning.errors import PlanError
from cluster.planning.gpus import GPUS
from cluster.planning.layouts import layout
from cluster.planning.parallelism import rank_counts
from cluster.planning.plan import Plan, alternatives, answer, longest_context, plan
from cluster.planning.quantization import VLLM_QUANTIZATIONS
from cluster.planning.question import Question
from cluster.planning.weights import Part
from model.variants import A4B_26B, DENSE_31B, VARIANTS

BF16, FP8 = VLLM_QUANTIZATIONS["bf16"], VLLM_QUANTIZATIONS["fp8"]
QUESTIONS = st.builds(
    lambda gpu, name, context, quantization, count, engine: Question(
        gpu, name, VARIANTS[name], context, quantization, count, engine=engine
    ),
    st.sampled_from(list(GPUS.values())),
    st.sampled_from(list(VARIANTS)),
    st.integers(1, 131_072),
    st.sampled_from([BF16, FP8]),
    st.none() | st.integers(1, 16),
    st.sampled_from(["vllm", "native"]),
)


def held(made: Plan) -> int:
    """Tokens of KV on all GPUs; with the native engine, whose batch is planned too, sequences."""
    if made.chosen is None:
        return 0
    is_native = made.question.engine == "native"
    return made.replicas * (made.chosen.sequences if is_native else made.chosen.kv_tokens)


def test_the_issues_own_example() -> None:
    made = plan("h100", "26b-a4b", 32_768)
    assert made.chosen is not None
    assert made.chosen.ranks == 1
    assert 15 <= made.chosen.sequences <= 25
    assert made.chosen.kv_tokens == pytest.approx(750_000, rel=0.05)


@pytest.mark.parametrize(
    ("gpu", "variant", "context", "ranks"),
    [
        ("l4", "26b-a4b", 8192, 4),
        ("a100-40", "31b", 32_768, 4),
        ("l40s", "31b", 32_768, 2),
        ("h200", "31b", 262_144, 1),
    ],
)
def test_the_fewest_gpus_that_fit_are_chosen(gpu: str, variant: str, context: int, ranks: int) -> None:
    made = plan(gpu, variant, context)
    assert made.chosen is not None
    assert made.chosen.ranks == ranks
    assert not any(smaller.fits for smaller in made.tried if smaller.ranks < ranks)


def test_only_numbers_of_gpus_that_divide_heads_and_experts_are_tried() -> None:
    assert rank_counts(DENSE_31B.text, "vllm", 64) == [1, 2, 4, 8, 16, 32]
    assert rank_counts(A4B_26B.text, "vllm", 64) == [1, 2, 4, 8, 16]
    assert rank_counts(VARIANTS["e2b"].text, "vllm", 64) == [1, 2, 4, 8]
    assert rank_counts(VARIANTS["e4b"].text, "vllm", 3) == [1, 2]
    assert rank_counts(A4B_26B.text, "native", 128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert rank_counts(DENSE_31B.text, "native", 128) == [1]


@pytest.mark.parametrize(("count", "replicas"), [(1, 0), (2, 1), (3, 1), (8, 4), (9, 4)])
def test_replicas_are_as_many_as_the_gpus_hold(count: int, replicas: int) -> None:
    assert plan("l40s", "31b", 32_768, count).replicas == replicas


def test_the_native_engine_spreads_experts_and_repeats_the_rest() -> None:
    made = plan("l4", "26b-a4b", 8192, engine="native")
    assert [tried.ranks for tried in made.tried] == [1, 2, 4, 8]
    assert made.chosen is not None
    assert made.chosen.ranks == 4  # 42.5 GiB of experts, 5.5 of the rest on each
    four, eight = made.tried[2:]
    assert four.weights[Part.EXPERTS] == 2 * eight.weights[Part.EXPERTS]
    assert four.weights[Part.LINEAR] == eight.weights[Part.LINEAR]
    assert (four.owners, four.first_bytes > 0) == (4, True)


def test_a_dense_model_on_the_native_engine_has_one_gpu() -> None:
    assert [tried.ranks for tried in plan("h100", "e4b", 32_768, 8, engine="native").tried] == [1]
    assert plan("l4", "31b", 32_768, engine="native").chosen is None


def test_the_native_engine_takes_the_batch_that_holds_most() -> None:
    chosen = plan("l40s", "31b", 8192, quantization="int4", engine="native").chosen
    assert chosen is not None
    assert (chosen.most_sequences, chosen.sequences) == (8, 8)
    assert plan("h100", "e4b", 8192, engine="native").best.most_sequences == 16


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpu": "h10"}, "did you mean h100"),
        ({"variant": "31"}, "did you mean 31b"),
        ({"variant": ""}, "name a variant: e2b, e4b, 26b-a4b, 31b"),
        ({"context": 262_145}, "31b takes 1 to 262,144 tokens"),
        ({"context": 0}, "31b takes 1 to 262,144 tokens"),
        ({"count": 0}, "at least 1"),
        ({"quantization": "fp9"}, "did you mean fp8"),
        ({"kv": "int2"}, "known are bf16, fp8"),
        ({"kv": "fp8", "gpu": "a100"}, "use a bf16 KV cache"),
        ({"kv": "fp8", "engine": "native"}, "no fp8 KV cache"),
        ({"engine": "vlm"}, "did you mean vllm"),
    ],
)
def test_a_question_without_an_answer_says_what_to_change(changes: dict[str, object], said: str) -> None:
    asked: dict[str, object] = {"gpu": "h100", "variant": "31b", "context": 32_768} | changes
    with pytest.raises(PlanError, match=re.escape(said)):
        plan(**asked)  # type: ignore[arg-type]


def test_alternatives_are_plans_that_fit() -> None:
    asked = plan("a100-40", "31b", 32_768, 2).question
    found = alternatives(asked)
    assert f"--context {longest_context(asked)}: the longest that fits" in found
    assert "--quantization w4a16: fits on 1 GPU" in found
    assert "without --count: fits on 4 GPUs" in found
    assert not any("--kv fp8" in change for change in found)  # an A100 cannot
    assert plan("a100-40", "31b", 32_768, 2, "w4a16").chosen is not None


def test_an_fp8_cache_is_advised_where_it_is_enough() -> None:
    asked = plan("h100", "31b", 49_152, 1).question
    assert answer(asked).chosen is None
    assert "--kv fp8: fits on 1 GPU" in alternatives(asked)


def test_the_longest_context_is_the_longest() -> None:
    asked = plan("h100", "31b", 32_768, 1).question
    longest = longest_context(asked)
    assert answer(replace(asked, context=longest)).chosen is not None
    assert answer(replace(asked, context=longest + 1024)).chosen is None
    assert longest_context(plan("l4", "31b", 32_768, 1).question) == 0


@settings(max_examples=200, deadline=None)
@given(QUESTIONS, st.integers(1, 16))
def test_more_gpus_never_hold_fewer_tokens(question: Question, more: int) -> None:
    count = question.count or 1
    fewer, all_ = (answer(replace(question, count=number)) for number in (count, count + more))
    assert held(fewer) <= held(all_)


@settings(max_examples=200, deadline=None)
@given(QUESTIONS, st.integers(0, 100_000))
def test_a_longer_context_never_holds_more_sequences(question: Question, more: int) -> None:
    context = min(question.context + more, question.config.text.max_position_embeddings)
    for shorter, longer in zip(answer(question).tried, answer(replace(question, context=context)).tried, strict=True):
        assert shorter.sequences >= longer.sequences
        assert shorter.fits >= longer.fits
        assert shorter.missing_bytes <= longer.missing_bytes


@settings(deadline=None)
@given(QUESTIONS, st.floats(0, 100))
def test_a_larger_gpu_never_holds_fewer_tokens(question: Question, more_gib: float) -> None:
    larger = replace(question.gpu, memory_gib=question.gpu.memory_gib + more_gib)
    for mine, theirs in zip(answer(question).tried, answer(replace(question, gpu=larger)).tried, strict=True):
        assert mine.sequences <= theirs.sequences
        assert mine.kv_tokens <= theirs.kv_tokens or question.engine == "native"


@settings(deadline=None)
@given(QUESTIONS)
def test_fewer_bits_never_hold_fewer_sequences_nor_want_more_gpus(question: Question) -> None:
    whole, quantised = (answer(replace(question, quantization=bits)) for bits in (BF16, FP8))
    for wide, narrow in zip(whole.tried, quantised.tried, strict=True):
        assert wide.sequences <= narrow.sequences
    assert whole.replicas <= quantised.replicas


@settings(deadline=None)
@given(QUESTIONS)
def test_what_fits_is_within_the_share_of_the_gpu(question: Question) -> None:
    for tried in answer(question).tried:
        of_each = math.ceil(tried.sequences / tried.owners)
        full = max(of_each - 1, 0) * tried.next_bytes + tried.first_bytes
        fixed = tried.usable_bytes - tried.kv_bytes
        assert tried.fits == (fixed + tried.first_bytes <= tried.usable_bytes)
        if tried.fits:
            assert tried.sequences >= 1
            assert fixed + full <= tried.usable_bytes
            assert tried.kv_tokens >= question.context


@settings(deadline=None)
@given(QUESTIONS)
def test_more_ranks_leave_more_of_each_gpu(question: Question) -> None:
    ranks = rank_counts(question.config.text, question.engine, 16)
    weights = [layout(question, count).weight_bytes for count in ranks]
    assert weights == sorted(weights, reverse=True)
