"""The router over real tokenizers, templates and capabilities: prompts, refusals, and the replica's request."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.capabilities import read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.client import text_content
from cluster.config import RoutingPolicy, VariantConfig
from cluster.errors import InvalidRequest, NoVariant
from cluster.media import inspect_contents
from cluster.prompt import PromptBuilder
from cluster.request import ParsedRequest, SamplingOverrides
from cluster.router import RoutedVariant, Router
from cluster.routing import VariantLoad
from cluster.variants.replica import engine_medium
from cluster.variants.sampling import sampling_params
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, ROLE_SYSTEM, Blob, Content, Part
from tests.cluster.media_samples import image, wav

NAMES = ("e2b", "31b")
CONTEXT_TOKENS = 2048
IDLE = SimpleNamespace(loads=lambda: {name: VariantLoad(running_replicas=1) for name in NAMES})


class CountingBuilder(PromptBuilder):
    """Counts how often it builds."""

    built = 0

    def build(self, *args: Any, **options: Any) -> Any:
        self.built += 1
        return super().build(*args, **options)


def _variant(name: str) -> RoutedVariant:
    checkpoint = resolve_checkpoint(f"tiny:{name}")
    config = VariantConfig(max_context_tokens=CONTEXT_TOKENS)
    return RoutedVariant(read_capabilities(name, config, checkpoint, f"tiny:{name}"), CountingBuilder(checkpoint))


@pytest.fixture
def variants() -> dict[str, RoutedVariant]:
    """Two variants of the tiny family, smallest first."""
    return {name: _variant(name) for name in NAMES}


@pytest.fixture
def router(variants: dict[str, RoutedVariant]) -> Router:
    """Over those, all idle."""
    return Router(variants, RoutingPolicy(), IDLE)  # type: ignore[arg-type]


def _request(*contents: Content, **options: Any) -> ParsedRequest:
    return ParsedRequest(request_id="r", contents=contents or (text_content("hello"),), **options)


def _media(mime_type: str, data: bytes, max_soft_tokens: int | None = None) -> Content:
    blob = Blob(mime_type=mime_type, data=data, max_soft_tokens=max_soft_tokens)
    return Content(role=1, parts=[Part(inline_data=blob)])


async def test_a_request_is_routed_with_its_prompt(router: Router, variants: dict[str, RoutedVariant]) -> None:
    request = _request()
    routed = await router.route(request)
    assert routed.decision.variant == "e2b"
    assert routed.request is request
    assert routed.prompt == variants["e2b"].prompts.build(request.contents)
    assert routed.capabilities is variants["e2b"].capabilities


async def test_variants_that_read_alike_share_one_prompt(router: Router, variants: dict[str, RoutedVariant]) -> None:
    assert variants["e2b"].prompts.fingerprint == variants["31b"].prompts.fingerprint
    prompts = await router.prompts(_request())
    assert list(prompts) == list(NAMES)
    assert prompts["e2b"] is prompts["31b"]
    assert sum(variant.prompts.built for variant in variants.values()) == 1


async def test_history_comes_before_the_new_turn(router: Router, variants: dict[str, RoutedVariant]) -> None:
    history = [text_content("first"), text_content("answer", ROLE_MODEL)]
    request = _request(text_content("second"), system_instruction=text_content("Be brief.", ROLE_SYSTEM))
    routed = await router.route(request, history)
    whole = variants["e2b"].prompts.build([*history, *request.contents], system=request.system_instruction)
    assert routed.prompt == whole


async def test_a_session_stays_on_its_variant_unless_the_policy_says_no(variants: dict[str, RoutedVariant]) -> None:
    for is_sticky, variant in ((True, "31b"), (False, "e2b")):
        router = Router(variants, RoutingPolicy(sticky_sessions=is_sticky), IDLE)  # type: ignore[arg-type]
        assert (await router.route(_request(), pin="31b")).decision.variant == variant


async def test_busy_variants_yield(variants: dict[str, RoutedVariant]) -> None:
    loads = {"e2b": VariantLoad(1, 99, 99), "31b": VariantLoad(1)}
    router = Router(variants, RoutingPolicy(), SimpleNamespace(loads=lambda: loads))  # type: ignore[arg-type]
    assert (await router.route(_request())).decision.variant == "31b"


async def test_audio_never_reaches_a_variant_without_audio(router: Router) -> None:
    contents = [_media("audio/wav", wav())]
    request = _request(*contents, media=await inspect_contents(contents), preference="best")
    assert (await router.route(request)).decision.variant == "e2b"


async def test_media_of_earlier_turns_decide_too(router: Router) -> None:
    history = [_media("audio/wav", wav()), text_content("a beep", ROLE_MODEL)]
    routed = await router.route(_request(preference="best"), history)
    assert routed.decision.variant == "e2b"
    assert routed.prompt.tokens_by_modality["audio"] > 0


async def test_no_variant_gives_a_reason_for_each(router: Router) -> None:
    contents = [_media("audio/wav", wav())]
    request = _request(*contents, media=await inspect_contents(contents), allowed_variants=("31b",))
    with pytest.raises(NoVariant) as caught:
        await router.route(request)
    assert {(code, variant) for code, variant, _ in caught.value.violations} == {
        ("NOT_ALLOWED", "e2b"),
        ("MODALITY_AUDIO", "31b"),
    }


async def test_a_prompt_far_over_every_context_is_refused_before_any_work(
    router: Router, variants: dict[str, RoutedVariant]
) -> None:
    started = time.monotonic()
    with pytest.raises(NoVariant) as caught:
        await router.route(_request(text_content("word " * 1_000_000)))
    assert time.monotonic() - started < 2
    assert {code for code, _, _ in caught.value.violations} == {"CONTEXT_TOO_SMALL"}
    assert [variant for _, variant, _ in caught.value.violations] == list(NAMES)
    assert sum(variant.prompts.built for variant in variants.values()) == 0


async def test_a_long_prompt_does_not_stop_the_event_loop(variants: dict[str, RoutedVariant]) -> None:
    main, threads = asyncio.get_running_loop(), []

    class Watching(CountingBuilder):
        def build(self, *args: Any, **options: Any) -> Any:
            try:
                threads.append(asyncio.get_running_loop() is main)
            except RuntimeError:
                threads.append(False)
            return super().build(*args, **options)

    builder = Watching(resolve_checkpoint("tiny:e2b"))
    wide = {"e2b": RoutedVariant(variants["e2b"].capabilities, builder)}
    router = Router(wide, RoutingPolicy(), IDLE)  # type: ignore[arg-type]
    for text in ("short", "the " * 6_000):
        await router.prompts(_request(text_content(text)))
    assert threads == [True, False]


async def test_what_the_caller_leaves_out_is_filled_in(router: Router, variants: dict[str, RoutedVariant]) -> None:
    routed = await router.route(_request())
    request, defaults = routed.replica_request(4), variants["e2b"].capabilities
    assert list(request.prompt_token_ids) == routed.prompt.token_ids
    assert (request.request_id, request.max_tokens_per_message) == ("r", 4)
    assert request.sampling.temperature == pytest.approx(defaults.default_temperature)
    assert request.sampling.top_k == defaults.default_top_k
    assert request.sampling.top_p == pytest.approx(defaults.default_top_p)
    assert request.sampling.max_tokens == defaults.max_output_tokens - len(routed.prompt.token_ids)
    assert not request.sampling.HasField("seed")


async def test_what_the_caller_says_is_kept_even_when_it_is_zero(router: Router) -> None:
    sampling = SamplingOverrides(5, temperature=0.0, top_k=1, top_p=0.25, seed=0, stop=("a", "b"))
    asked = (await router.route(_request(sampling=sampling))).replica_request(0).sampling
    assert (asked.max_tokens, asked.temperature, asked.top_k, asked.top_p, asked.seed) == (5, 0, 1, 0.25, 0)
    assert asked.HasField("seed")
    assert list(asked.stop) == ["a", "b"]


async def test_every_sampling_option_reaches_the_engine(router: Router) -> None:
    neutral = (await router.route(_request())).replica_request(0).sampling
    assert not sampling_params(neutral).is_penalised
    assert sampling_params(neutral).logprobs is None
    said: dict[str, Any] = {
        "min_p": 0.25,
        "repetition_penalty": 1.5,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.5,
        "logit_bias": {3: 1.5, 7: -2.0},
        "logprobs": 0,
    }
    routed = await router.route(_request(sampling=SamplingOverrides(**said)))
    sampling = sampling_params(routed.replica_request(0).sampling)
    assert {name: getattr(sampling, name) for name in said} == said


async def test_a_bias_beyond_the_vocabulary_names_its_token(router: Router, variants: dict[str, RoutedVariant]) -> None:
    size = variants["e2b"].capabilities.vocab_size
    assert (await router.route(_request(sampling=SamplingOverrides(logit_bias={size - 1: 1.0})))).decision
    with pytest.raises(InvalidRequest) as caught:
        await router.route(_request(sampling=SamplingOverrides(logit_bias={1: 1.0, size: 1.0})))
    assert [item.field for item in caught.value.violations] == [f"generation_config.logit_bias[{size}]"]


async def test_media_reach_the_replica_with_the_places_of_their_soft_tokens(router: Router) -> None:
    contents = [_media("image/png", image("PNG"))]
    routed = await router.route(_request(*contents, media=await inspect_contents(contents)))
    (medium,) = routed.replica_request(0).media
    assert (medium.mime_type, medium.data) == ("image/png", image("PNG"))
    assert medium.token_count == routed.prompt.tokens_by_modality["image"] > 0
    run = routed.prompt.token_ids[medium.token_offset : medium.token_offset + medium.token_count]
    assert len(set(run)) == 1


async def test_a_resolution_reaches_the_engine_and_none_stays_none(router: Router) -> None:
    contents = [_media("image/png", image("PNG"), most) for most in (70, None, 1120)]
    routed = await router.route(_request(*contents, media=await inspect_contents(contents)))
    media = [engine_medium(medium) for medium in routed.replica_request(0).media]
    assert [medium.max_soft_tokens for medium in media] == [70, None, 1120]
    assert {medium.data for medium in media} == {image("PNG")}


async def test_a_finer_image_is_a_bigger_prompt_for_a_bigger_variant(
    variants: dict[str, RoutedVariant],
) -> None:
    policy = RoutingPolicy(
        size_classes=[{"name": "s", "max_prompt_tokens": 500, "prefer": ["e2b"]}, {"name": "l", "prefer": ["31b"]}]
    )
    router = Router(variants, policy, IDLE)  # type: ignore[arg-type]
    chosen = [
        (await router.route(_request(_media("image/png", image("PNG", 640, 480), most)))).decision.variant
        for most in (70, 280, 560, 1120)
    ]
    assert chosen == ["e2b", "e2b", "31b", "31b"]
