"""Codec laws: a good request comes out whole, a bad one with every violation named by its field."""

import re
import string
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.codec import Codec, parse_system_instruction
from cluster.codec.structs import plain
from cluster.errors import ClusterError, InvalidRequest, NotSupported
from cluster.request import ParsedRequest, SamplingOverrides
from protos.gemmacluster.v1.content_pb2 import (
    ROLE_MODEL,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_UNSPECIFIED,
    ROLE_USER,
    Blob,
    Content,
    FileData,
    FunctionCall,
    FunctionDeclaration,
    FunctionResponse,
    Part,
)
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest, GenerationConfig, RoutingPreferences
from tests.cluster.media_samples import SAMPLES

CODEC = Codec(frozenset({"e2b", "e4b"}))
HELLO = Content(role=ROLE_USER, parts=[Part(text="hello")])
ANSWER = Content(role=ROLE_MODEL, parts=[Part(text="hi")])
SYSTEM = Content(role=ROLE_SYSTEM, parts=[Part(text="be brief")])
CALL = Content(role=ROLE_MODEL, parts=[Part(function_call=FunctionCall(name="clock"))])
RESULT = Content(role=ROLE_TOOL, parts=[Part(function_response=FunctionResponse(name="clock"))])
DATA = "contents[0].parts[0].inline_data"
IMAGE = Part(inline_data=Blob(mime_type="image/png", data=SAMPLES["image/png"]))


def asked(*contents: Content, **fields: Any) -> GenerateRequest:
    return GenerateRequest(contents=contents or [HELLO], **fields)


def scaled(max_soft_tokens: int, mime_type: str = "image/png") -> Part:
    blob = Blob(mime_type=mime_type, data=SAMPLES[mime_type], max_soft_tokens=max_soft_tokens)
    return Part(inline_data=blob)


def user(*parts: Part) -> Content:
    return Content(role=ROLE_USER, parts=parts)


def struct(**values: Any) -> Struct:
    result = Struct()
    result.update(values)
    return result


def nested(levels: int) -> Struct:
    value = Value(string_value="x")
    for _ in range(levels - 1):
        value = Value(list_value=ListValue(values=[value]))
    return Struct(fields={"a": value})


async def problems(request: GenerateRequest) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        await CODEC.parse(request)
    return {item.field: item.description for item in caught.value.violations}


async def test_the_least_request_takes_every_default() -> None:
    parsed = await CODEC.parse(GenerateRequest(contents=[Content(parts=[Part(text="hello")])]))
    assert str(uuid.UUID(parsed.request_id)) == parsed.request_id
    assert parsed == ParsedRequest(request_id=parsed.request_id, contents=(HELLO,))


async def test_a_full_request_comes_out_whole() -> None:
    tool = FunctionDeclaration(name="clock", description="tells the time")
    config = GenerationConfig(
        max_output_tokens=5, temperature=0, top_k=1, top_p=1, seed=0, stop_sequences=["a", "b"], thinking=True
    )
    routing = RoutingPreferences(preference=3, allowed_variants=["e4b", "e2b", "e4b"], max_cost=2.5)
    request = asked(
        request_id="retry-1",
        model="e2b",
        generation_config=config,
        routing=routing,
        session_id="chat:1",
        session_etag="7",
        tools=[tool],
    )
    assert await CODEC.parse(request) == ParsedRequest(
        request_id="retry-1",
        contents=(HELLO,),
        model="e2b",
        sampling=SamplingOverrides(5, 0.0, 1, 1.0, 0, ("a", "b")),
        thinking=True,
        preference="best",
        allowed_variants=("e4b", "e2b"),
        max_cost=2.5,
        session_id="chat:1",
        session_etag="7",
        tools=(tool,),
    )


async def test_every_violation_is_reported_at_once() -> None:
    config = GenerationConfig(max_output_tokens=0, temperature=-1, top_k=0, top_p=2, seed=-1, stop_sequences=[""])
    request = asked(
        user(Part(text="")),
        Content(role=99, parts=[Part(text="x")]),
        Content(role=ROLE_USER),
        user(Part(inline_data=Blob(mime_type="image/png", data=b"junk"))),
        model="gpt",
        generation_config=config,
        request_id="no spaces",
        session_etag="1",
    )
    assert set(await problems(request)) == {
        "contents[0].parts[0].text",
        "contents[1].role",
        "contents[2].parts",
        "contents[3].parts[0].inline_data",
        "generation_config.max_output_tokens",
        "generation_config.temperature",
        "generation_config.top_k",
        "generation_config.top_p",
        "generation_config.seed",
        "generation_config.stop_sequences[0]",
        "model",
        "request_id",
        "session_etag",
    }


def trailer_size(error: ClusterError) -> int:
    """Bytes of the status in HTTP/2 trailers: percent-encoded text and base64 details."""
    status = error.to_status()
    return len(quote(status.message, safe=" " + string.punctuation)) + len(status.SerializeToString()) * 4 // 3


@pytest.mark.parametrize("request_", [asked(*[user(Part(text=""))] * 1000), asked(*[Content(role=99)] * 1000)])
async def test_a_thousand_violations_still_fit_in_a_status(request_: GenerateRequest) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await CODEC.parse(request_)
    last = caught.value.violations[-1]
    assert last.field == "request"
    assert last.description == f"has {1001 - len(caught.value.violations)} more violations"
    assert trailer_size(caught.value) < 8000


async def test_long_strings_of_the_caller_are_cut_in_messages() -> None:
    routing = RoutingPreferences(allowed_variants=["日" * 5000] * 100)
    with pytest.raises(InvalidRequest) as caught:
        await CODEC.parse(asked(model="x" * 100_000, routing=routing))
    assert trailer_size(caught.value) < 8000


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"model": "E2B"}, "model", "use auto, e2b or e4b"),
        ({"request_id": "x" * 129}, "request_id", "1 to 128"),
        ({"session_id": "a/b"}, "session_id", "not 'a/b'"),
        ({"session_id": "x" * 129}, "session_id", "1 to 128"),
        ({"session_etag": "1"}, "session_etag", "without a session_id"),
        ({"session_id": "a", "session_etag": "1" * 300}, "session_etag", "at most 256"),
        ({"routing": RoutingPreferences(preference=9)}, "routing.preference", "9"),
        ({"priority": 3}, "priority", "3 is no priority"),
        ({"routing": RoutingPreferences(allowed_variants=["e2b", "70b"])}, "routing.allowed_variants[1]", "'70b'"),
        ({"routing": RoutingPreferences(max_cost=0)}, "routing.max_cost", "not 0"),
        ({"routing": RoutingPreferences(max_cost=float("nan"))}, "routing.max_cost", "nan"),
    ],
)
async def test_a_bad_option_is_named(fields: dict[str, Any], field: str, words: str) -> None:
    found = await problems(asked(**fields))
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"max_output_tokens": -5}, "max_output_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"seed": -(2**63)}, "seed"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"stop_sequences": ["ok", "x" * 257]}, "stop_sequences[1]"),
    ],
)
async def test_a_sampling_value_out_of_range_is_named(config: dict[str, Any], name: str) -> None:
    found = await problems(asked(generation_config=GenerationConfig(**config)))
    assert list(found) == [f"generation_config.{name}"]


async def test_the_ends_of_the_ranges_are_taken() -> None:
    stops = ["x" * 256] * 16
    config = GenerationConfig(
        temperature=2, top_p=1, top_k=1, max_output_tokens=1, seed=2**63 - 1, stop_sequences=stops
    )
    parsed = await CODEC.parse(asked(generation_config=config))
    assert parsed.sampling == SamplingOverrides(1, 2.0, 1, 1.0, 2**63 - 1, tuple(stops))


async def test_an_empty_request_is_refused() -> None:
    assert await problems(GenerateRequest()) == {"contents": "is empty; send at least one content"}


@pytest.mark.parametrize(
    ("contents", "field", "words"),
    [
        ([Content(role=99, parts=[Part(text="x")])], "contents[0].role", "99 is no role"),
        ([Content(role=-1, parts=[Part(text="x")])], "contents[0].role", "-1 is no role"),
        ([Content()], "contents[0].parts", "is empty"),
        ([user(Part())], "contents[0].parts[0]", "nothing is set"),
        ([user(Part(text="x"), Part(text=""))], "contents[0].parts[1].text", "is empty"),
        ([HELLO, ANSWER], "contents[1].role", "a user's or a tool's"),
        ([SYSTEM], "contents[0].role", "a user's or a tool's"),
        ([HELLO, SYSTEM, HELLO], "contents[1].role", "only be the first"),
        ([HELLO, RESULT], "contents[1].role", "must follow the model content"),
        ([RESULT], "contents[0].role", "must follow the model content"),
        ([HELLO, ANSWER, RESULT], "contents[2].role", "must follow the model content"),
        ([user(CALL.parts[0])], "contents[0].parts[0].function_call", "a user content holds text"),
        ([user(RESULT.parts[0])], "contents[0].parts[0].function_response", "a user content holds text"),
        ([Content(role=ROLE_MODEL, parts=[IMAGE]), HELLO], "contents[0].parts[0].inline_data", "a model content"),
        ([Content(role=ROLE_SYSTEM, parts=[IMAGE]), HELLO], "contents[0].parts[0].inline_data", "a system content"),
        ([user(Part(text="x", thought=True))], "contents[0].parts[0].thought", "model content"),
        ([user(scaled(300))], f"{DATA}.max_soft_tokens", "must be 70, 140, 280, 560 or 1120, not 300"),
        ([user(scaled(0))], f"{DATA}.max_soft_tokens", "not 0"),
        ([user(scaled(-70))], f"{DATA}.max_soft_tokens", "not -70"),
        ([user(scaled(280, "audio/ogg"))], f"{DATA}.max_soft_tokens", "only images and videos"),
        ([HELLO] * 5000, "contents", "at most 4096"),
        ([user(*[Part(text="x")] * 9000)], "contents", "at most 8192"),
        ([user(*[IMAGE] * 129)], "contents", "at most 128"),
    ],
)
async def test_a_conversation_out_of_order_is_named(contents: list[Content], field: str, words: str) -> None:
    found = await problems(GenerateRequest(contents=contents))
    assert list(found) == [field]
    assert words in found[field]


async def test_conversations_that_other_apis_permit_are_taken() -> None:
    for contents in ([HELLO, HELLO], [ANSWER, HELLO], [HELLO, ANSWER, ANSWER, HELLO], [HELLO, CALL, RESULT, RESULT]):
        assert (await CODEC.parse(GenerateRequest(contents=contents))).contents == tuple(contents)


async def test_instructions_may_stand_in_either_place_but_not_in_both() -> None:
    first = await CODEC.parse(asked(SYSTEM, HELLO))
    apart = await CODEC.parse(asked(HELLO, system_instruction=Content(parts=SYSTEM.parts)))
    assert (first.system_instruction, first.contents) == (SYSTEM, (HELLO,))
    assert (apart.system_instruction, apart.contents) == (SYSTEM, (HELLO,))
    assert list(await problems(asked(SYSTEM, HELLO, system_instruction=SYSTEM))) == ["system_instruction"]


@pytest.mark.parametrize(
    ("instruction", "field"),
    [
        (Content(), "system_instruction.parts"),
        (Content(parts=[Part(text="")]), "system_instruction.parts[0].text"),
        (Content(parts=[IMAGE]), "system_instruction.parts[0].inline_data"),
        (Content(role=ROLE_MODEL, parts=[Part(text="x")]), "system_instruction.role"),
        (Content(role=77, parts=[Part(text="x")]), "system_instruction.role"),
    ],
)
async def test_bad_instructions_are_named(instruction: Content, field: str) -> None:
    assert list(await problems(asked(system_instruction=instruction))) == [field]
    with pytest.raises(InvalidRequest, match=re.escape(field)):
        parse_system_instruction(instruction)


def test_instructions_for_a_session_get_their_role() -> None:
    assert parse_system_instruction(Content(parts=SYSTEM.parts)) == SYSTEM


async def test_a_session_request_holds_the_new_turn_alone() -> None:
    found = await problems(asked(SYSTEM, HELLO, ANSWER, HELLO, session_id="s"))
    assert set(found) == {"contents[0].role", "contents[2].role"}
    assert list(await problems(asked(system_instruction=SYSTEM, session_id="s"))) == ["system_instruction"]
    assert (await CODEC.parse(asked(RESULT, session_id="s"))).contents == (RESULT,)


@pytest.mark.parametrize(
    ("tools", "field", "words"),
    [
        ([FunctionDeclaration()], "tools[0].name", "1 to 64"),
        ([FunctionDeclaration(name="a-b")], "tools[0].name", "letters, digits"),
        ([FunctionDeclaration(name="a" * 65)], "tools[0].name", "1 to 64"),
        ([FunctionDeclaration(name="f", parameters=struct(type="string"))], "tools[0].parameters", "object schema"),
        ([FunctionDeclaration(name="f", parameters=struct(x=1))], "tools[0].parameters", "object schema"),
        (
            [FunctionDeclaration(name="f", parameters=struct(type="object", properties=[1]))],
            "tools[0].parameters",
            "map each name",
        ),
        (
            [FunctionDeclaration(name="f", parameters=struct(type="object", required=["x"]))],
            "tools[0].parameters",
            "'x'",
        ),
        ([FunctionDeclaration(name="f", parameters=nested(30))], "tools[0].parameters", "nested deeper"),
        ([FunctionDeclaration(name=f"f{i}") for i in range(129)], "tools", "at most 128"),
    ],
)
async def test_a_bad_tool_is_named(tools: list[FunctionDeclaration], field: str, words: str) -> None:
    found = await problems(asked(tools=tools))
    assert list(found) == [field]
    assert words in found[field]


async def test_two_tools_cannot_share_a_name() -> None:
    tools = [FunctionDeclaration(name="f"), FunctionDeclaration(name="f")]
    assert set(await problems(asked(tools=tools))) == {"tools[0].name", "tools[1].name"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (struct(x=float("nan")), "not finite"),
        (struct(x=[{"y": float("inf")}]), "not finite"),
        (nested(25), "nested deeper than 24"),
        (Struct(fields={"x": Value()}), "no kind"),
    ],
)
async def test_arguments_that_json_cannot_hold_are_refused(args: Struct, words: str) -> None:
    call = Content(role=ROLE_MODEL, parts=[Part(function_call=FunctionCall(name="clock", args=args))])
    found = await problems(asked(HELLO, call, RESULT))
    assert words in found["contents[1].parts[0].function_call.args"]


def test_structs_come_out_as_plain_python() -> None:
    values = {"a": 1, "b": 1.5, "c": "x", "d": None, "e": [True, {"f": -3.0}], "g": 1e300}
    assert plain(struct(**values)) == values
    assert isinstance(plain(struct(a=1))["a"], int)


async def test_media_come_out_by_their_hash() -> None:
    ogg = Part(inline_data=Blob(mime_type="audio/ogg", data=SAMPLES["audio/ogg"]))
    parsed = await CODEC.parse(asked(user(IMAGE, ogg, IMAGE)))
    assert sorted(info.modality for info in parsed.media.values()) == ["audio", "image"]
    assert parsed.modalities == {"text", "audio", "image"}
    assert all(info.sha256 == key for key, info in parsed.media.items())


@pytest.mark.parametrize("tokens", [70, 140, 280, 560, 1120])
@pytest.mark.parametrize("mime_type", ["image/png", "video/mp4"])
async def test_a_resolution_stays_with_its_medium(mime_type: str, tokens: int) -> None:
    contents = (user(scaled(tokens, mime_type), IMAGE),)
    assert (await CODEC.parse(GenerateRequest(contents=contents))).contents == contents


async def test_media_by_reference_are_not_supported_yet() -> None:
    reference = Part(file_data=FileData(mime_type="image/png", uri="gs://bucket/cat.png"))
    with pytest.raises(NotSupported, match=r"contents\[0\]\.parts\[0\]\.file_data: .*inline_data"):
        await CODEC.parse(asked(user(reference)))
    assert "model" in await problems(asked(user(reference), model="gpt"))


PARTS = st.sampled_from(
    [Part(), Part(text="x"), Part(text=""), IMAGE, CALL.parts[0], RESULT.parts[0], Part(text="t", thought=True)]
)
ROLES = st.sampled_from([ROLE_UNSPECIFIED, ROLE_USER, ROLE_MODEL, ROLE_SYSTEM, ROLE_TOOL, 42])
CONTENTS = st.builds(lambda role, parts: Content(role=role, parts=parts), ROLES, st.lists(PARTS, max_size=3))


@settings(max_examples=200, deadline=2000)
@given(contents=st.lists(CONTENTS, max_size=5), system=st.none() | CONTENTS, session=st.sampled_from(["", "s"]))
async def test_any_conversation_is_parsed_in_order_or_refused(
    contents: list[Content], system: Content | None, session: str
) -> None:
    request = GenerateRequest(contents=contents, system_instruction=system, session_id=session)
    try:
        parsed = await CODEC.parse(request)
    except InvalidRequest as error:
        assert error.violations  # noqa: PT017
        return
    assert [list(content.parts) for content in parsed.contents] == [list(c.parts) for c in contents][
        -len(parsed.contents) :
    ]
    assert all(content.role in (ROLE_USER, ROLE_MODEL, ROLE_TOOL) for content in parsed.contents)
    assert parsed.contents[-1].role in (ROLE_USER, ROLE_TOOL)


SEED = asked(user(IMAGE, Part(text="x")), CALL, RESULT, model="e2b", session_id="s").SerializeToString()


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.binary(max_size=4)), max_size=4),
    tail=st.binary(max_size=40),
)
async def test_arbitrary_bytes_are_parsed_or_refused(edits: list[tuple[int, bytes]], tail: bytes) -> None:
    data = bytearray(SEED)
    for place, patch in edits:
        data[place : place + len(patch)] = patch
    try:
        request = GenerateRequest.FromString(bytes(data) + tail)
    except DecodeError:
        return
    try:
        await CODEC.parse(request)
    except (InvalidRequest, NotSupported) as error:
        assert trailer_size(error) < 8000  # noqa: PT017
