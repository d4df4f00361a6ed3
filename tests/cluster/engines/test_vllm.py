"""vLLM for real, on the CPU: what it says is what our own engine says, what it holds is freed, its death is seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import psutil
import pytest
import pytest_asyncio

from cluster.engines.base import EngineMedium, EngineOutput, EngineRequest
from cluster.engines.vllm import engine
from cluster.errors import ClusterError, InvalidRequest, NotSupported, Unavailable
from model.answer import FunctionCall, Text, Thought
from model.runtime.response_format import Kind, ResponseFormat
from protos.gemmacluster.v1.content_pb2 import Blob
from tests.cluster import taught_answers
from tests.cluster.engines.vllm_here import needs_vllm
from tests.cluster.engines.vllm_pair import Pair, collect
from tests.cluster.media_samples import image, wav
from tests.model.preprocess.test_video import movie

pytestmark = [*needs_vllm, pytest.mark.asyncio(loop_scope="module")]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Bergen"]}, "days": {"type": "integer", "maximum": 9, "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
PICTURE, TALL = image("PNG", 640, 480), image("JPEG", 200, 500)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["26b-a4b", "31b", "e2b"])
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both engines over each structure in turn."""
    pair = await Pair.start(request.param, tmp_path_factory.mktemp("pair") / "checkpoint")
    yield pair
    await pair.stop()


# For what does not depend on the structure.
on_e2b = pytest.mark.parametrize("pair", ["e2b"], indirect=True, scope="module")


async def _same(pair: Pair, request: EngineRequest) -> dict[str, Any]:
    vllm, native = await pair.answers(request)
    assert vllm == native
    return vllm


async def test_greedy_text_is_the_same(pair: Pair) -> None:
    for text in ("The quick brown fox", "x", "How many roads? " * 60):
        assert (await _same(pair, pair.ask(text)))["tokens"] > 0


async def test_images_are_seen_the_same_each_at_its_own_resolution(pair: Pair) -> None:
    small, large = (Blob(mime_type="image/png", data=PICTURE, max_soft_tokens=most) for most in (70, 560))
    tall = Blob(mime_type="image/jpeg", data=TALL)
    answers = [await _same(pair, pair.show(*blobs)) for blobs in ([small], [large], [tall], [small, tall, large])]
    assert len({str(answer["pieces"]) for answer in answers}) == 4


async def test_a_video_is_seen_the_same(pair: Pair) -> None:
    await _same(pair, pair.show(Blob(mime_type="video/mp4", data=movie("video/mp4", 12)), max_tokens=12))


@on_e2b
async def test_scores_are_changed_the_same(pair: Pair) -> None:
    for sampling in (
        {"repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.7},
        {"logit_bias": {400: 5.0, 300: -3.0}},
        {"logprobs": 4},
        {"stop": ("e",)},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "min_p": 1.0},
        {"temperature": 1.0, "top_p": 1e-6},
    ):
        await _same(pair, pair.ask("one two three two one", **sampling))


@on_e2b
async def test_log_probabilities_are_the_models_own(pair: Pair) -> None:
    request = pair.ask(logprobs=3, logit_bias={400: 8.0}, max_tokens=4)
    found = [[output.logprobs[0] for output in await collect(engine, request)] for engine in (pair.vllm, pair.native)]
    for ours, theirs in zip(*found, strict=True):
        assert theirs.chosen.logprob == pytest.approx(ours.chosen.logprob, abs=1e-3)
        assert [item.logprob for item in theirs.top] == pytest.approx([item.logprob for item in ours.top], abs=1e-3)


@on_e2b
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json_schema", json.dumps(SCHEMA)),
        ("regex", r"[ab]{3}/\d\d"),
        ("choice", json.dumps(["Oslo", 'Ber"gen'])),
        ("json_object", ""),
    ],
)
async def test_formats_are_kept_the_same(pair: Pair, kind: Kind, text: str) -> None:
    wanted = ResponseFormat(kind, text)
    for request in (pair.ask(response_format=wanted, max_tokens=60), pair.thoughtful("Where?", response_format=wanted)):
        await _same(pair, request)


@on_e2b
async def test_an_object_of_a_schema_can_be_parsed(pair: Pair) -> None:
    request = pair.ask(response_format=ResponseFormat("json_schema", json.dumps(SCHEMA)), max_tokens=400)
    answer = await _same(pair, request)
    assert json.loads(answer["pieces"][0].text)["city"] in ("Oslo", "Bergen")


@on_e2b
async def test_thoughts_and_calls_come_as_such(pair: Pair) -> None:
    told = {
        name: (await _same(pair, pair.exchange(getattr(taught_answers, name), max_tokens=80)))["pieces"]
        for name in ("HELLO", "ASK", "BOTH", "BROKEN", "SILENT")
    }
    assert told["HELLO"] == [Thought("Hm, a greeting."), Text("Hello there")]
    assert told["ASK"] == [Thought("I must look."), FunctionCall("get_weather", {"city": "Paris", "days": 3})]


@on_e2b
async def test_seeds_hold_in_company(pair: Pair) -> None:
    request = pair.ask(temperature=1.0, seed=7)
    alone = await collect(pair.vllm, request)
    others = [pair.ask("Another", temperature=1.0, seed=8), pair.ask("And one more", temperature=1.0)]
    together = await asyncio.gather(*(collect(pair.vllm, item) for item in (request, *others)))
    assert [output.text for output in together[0]] == [output.text for output in alone]


@on_e2b
async def test_what_a_prompt_shares_is_told_as_cached(pair: Pair) -> None:
    request = pair.show(Blob(mime_type="image/png", data=PICTURE), max_tokens=2)
    repeated = [(await collect(pair.vllm, request))[-1].cached_tokens for _ in range(2)]
    assert 0 < repeated[1] < len(request.prompt_token_ids)
    other = replace(request, media=(EngineMedium("image/png", image("PNG", 640, 480, quality=1, mode="L")),))
    assert (await collect(pair.vllm, other))[-1].cached_tokens < repeated[1]


async def _frees(pair: Pair) -> None:
    """True once vLLM's own scheduler has nothing left; it tells after a step, so one is made."""
    await collect(pair.vllm, pair.ask(max_tokens=2))
    assert pair.vllm.load().details == {"scheduled": 0, "kv_share": 0}
    assert pair.vllm.load().running + pair.vllm.load().waiting == 0


@on_e2b
async def test_an_abort_frees_what_runs_and_what_waits(pair: Pair) -> None:
    """Six requests on a batch of four."""
    long = pair.ask(max_tokens=3000, ignore_eos=True)
    readers = [asyncio.create_task(collect(pair.vllm, long)) for _ in range(6)]
    async with asyncio.timeout(10):
        while (load := pair.vllm.load()).details["scheduled"] < 4 or load.waiting < 2:
            await asyncio.sleep(0.01)
    assert 0 < load.kv_tokens < load.kv_capacity_tokens
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await _frees(pair)


@on_e2b
async def test_an_abort_frees_what_was_only_just_sent(pair: Pair) -> None:
    for steps in range(12):
        reader = asyncio.create_task(collect(pair.vllm, pair.ask(max_tokens=3000, ignore_eos=True)))
        for _ in range(steps):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    await _frees(pair)


@on_e2b
async def test_a_stop_string_frees_its_request(pair: Pair) -> None:
    free = "".join(output.text for output in await collect(pair.vllm, pair.ask(ignore_eos=True)))
    outputs = await collect(pair.vllm, pair.ask(ignore_eos=True, max_tokens=3000, stop=(free[4:6],)))
    assert sum(output.token_count for output in outputs) <= 24
    await _frees(pair)


@on_e2b
async def test_what_vllm_cannot_take_is_refused_and_the_engine_lives(pair: Pair) -> None:
    sound = EngineMedium("audio/wav", wav(0.5))
    picture = pair.show(Blob(mime_type="image/png", data=PICTURE))
    refused: list[tuple[EngineRequest, type[ClusterError], str]] = [
        (replace(picture, media=(sound,)), NotSupported, "audio"),
        (replace(picture, media=()), InvalidRequest, "another size"),
        (replace(picture, media=(EngineMedium("image/png", TALL),)), InvalidRequest, "another size"),
        (replace(picture, media=(EngineMedium("image/png", PICTURE[:99]),)), InvalidRequest, "decoded"),
        (pair.ask(logit_bias={10**6: 1.0}), InvalidRequest, "logit_bias"),
        (pair.ask(temperature=9.0), InvalidRequest, "temperature"),
        (pair.ask(response_format=ResponseFormat("regex", "((")), InvalidRequest, "response_format.regex"),
    ]
    for request, kind, words in refused:
        with pytest.raises(kind, match=words):
            await anext(pair.vllm.generate(request))
    await pair.vllm.check_health()
    await _frees(pair)


def _scheduler() -> psutil.Process:
    """vLLM's process that schedules, and starts those that compute."""
    children = psutil.Process().children()
    (found,) = (item for item in children if "EngineCore" in " ".join((item.name(), *item.cmdline())))
    return found


@on_e2b
async def test_a_process_that_hangs_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_ANSWER_S", 0.5)
    await pair.vllm.check_health()
    _scheduler().suspend()
    with pytest.raises(ClusterError, match="did not answer"):
        await pair.vllm.check_health()
    _scheduler().resume()
    await _frees(pair)
    await pair.vllm.check_health()


async def _exhaust(outputs: AsyncGenerator[EngineOutput, None]) -> None:
    async for _ in outputs:
        pass


@on_e2b
async def test_the_death_of_its_process_ends_requests_and_is_told(pair: Pair) -> None:
    async with aclosing(pair.vllm.generate(pair.ask(max_tokens=3000, ignore_eos=True))) as outputs:
        await anext(outputs)
        _scheduler().kill()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(_exhaust(outputs), 10)
    with pytest.raises(ClusterError, match="died"):
        await pair.vllm.check_health()
    with pytest.raises(Unavailable):
        await anext(pair.vllm.generate(pair.ask()))
