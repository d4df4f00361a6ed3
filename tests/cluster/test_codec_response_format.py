"""Response formats in the codec: shape and size, each violation by its field, and the text that engines get."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.codec import Codec
from cluster.codec.response_format import check_response_format
from cluster.codec.violations import Violations
from cluster.errors import InvalidRequest
from cluster.variants.sampling import sampling_params
from model.runtime.response_format import ResponseFormat as Plain
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaSampling
from protos.gemmacluster.v1.content_pb2 import Content, FunctionDeclaration, Part
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest, GenerationConfig, ResponseFormat

FIELD = "generation_config.response_format"
CODEC = Codec(["e2b"])


def struct(value: dict[str, Any]) -> Struct:
    result = Struct()
    result.update(value)
    return result


def schema(value: dict[str, Any]) -> ResponseFormat:
    return ResponseFormat(json_schema=struct(value))


def choice(*texts: str) -> ResponseFormat:
    return ResponseFormat(choice=ResponseFormat.Choice(texts=texts))


def asked(response_format: ResponseFormat, **fields: Any) -> GenerateRequest:
    config = GenerationConfig(response_format=response_format)
    return GenerateRequest(contents=[Content(parts=[Part(text="x")])], generation_config=config, **fields)


def problems(response_format: ResponseFormat, has_tools: bool = False) -> dict[str, str]:
    violations = Violations()
    check_response_format(response_format, has_tools, violations)
    try:
        violations.raise_any()
    except InvalidRequest as error:
        return {item.field: item.description for item in error.violations}
    return {}


def as_engines_take_it(response_format: ResponseFormat) -> Plain | None:
    message = ReplicaSampling(max_tokens=1, top_p=1, repetition_penalty=1, response_format=response_format)
    return sampling_params(message).response_format


@pytest.mark.parametrize(
    ("response_format", "field", "words"),
    [
        (schema({"enum": ["x" * 66_000]}), "json_schema", "at most 65536"),
        (ResponseFormat(json_schema=Struct(fields={"a": Value()})), "json_schema", "no kind"),
        (schema({"minimum": float("inf")}), "json_schema", "finite"),
        (ResponseFormat(regex=""), "regex", "1 to 4096 characters, not 0"),
        (ResponseFormat(regex="x" * 4097), "regex", "not 4097"),
        (choice(), "choice.texts", "1 to 256 texts, not 0"),
        (choice(*["x"] * 257), "choice.texts", "not 257"),
        (choice("ok", ""), "choice.texts[1]", "1 to 1024 characters, not 0"),
        (choice("y" * 1025), "choice.texts[0]", "not 1025"),
    ],
)
def test_a_format_of_the_wrong_shape_or_size_is_named(response_format: ResponseFormat, field: str, words: str) -> None:
    found = problems(response_format)
    assert list(found) == [f"{FIELD}.{field}"]
    assert words in found[f"{FIELD}.{field}"]


def test_a_schema_nested_too_deep_is_named() -> None:
    value = Value(string_value="x")
    for _ in range(30):
        value = Value(list_value=ListValue(values=[value]))
    assert list(problems(ResponseFormat(json_schema=Struct(fields={"enum": value})))) == [f"{FIELD}.json_schema"]


@pytest.mark.parametrize(
    "response_format",
    [schema({}), ResponseFormat(regex="x" * 4096), choice(*["y" * 1024] * 256), choice("a")],
)
def test_the_ends_of_the_ranges_are_taken(response_format: ResponseFormat) -> None:
    assert problems(response_format) == {}


async def test_a_format_is_not_combined_with_tools() -> None:
    json_object = ResponseFormat(json_object=ResponseFormat.JsonObject())
    with pytest.raises(InvalidRequest) as caught:
        await CODEC.parse(asked(json_object, tools=[FunctionDeclaration(name="clock")]))
    assert [(item.field, item.description) for item in caught.value.violations] == [
        (FIELD, "cannot be combined with tools")
    ]
    assert (await CODEC.parse(asked(json_object))).sampling.response_format == json_object


async def test_a_format_without_a_form_is_free_text() -> None:
    parsed = await CODEC.parse(asked(ResponseFormat(), tools=[FunctionDeclaration(name="clock")]))
    assert parsed.sampling.response_format is None


def test_engines_get_plain_text() -> None:
    assert as_engines_take_it(ResponseFormat()) is None
    assert as_engines_take_it(ResponseFormat(json_object=ResponseFormat.JsonObject())) == Plain("json_object")
    assert as_engines_take_it(ResponseFormat(regex="a|ü")) == Plain("regex", "a|ü")
    assert as_engines_take_it(choice("b", 'a"')) == Plain("choice", r'["b", "a\""]')
    taken = as_engines_take_it(schema({"type": "string", "maxLength": 3, "minimum": 0.5}))
    assert taken == Plain("json_schema", '{"maxLength": 3, "minimum": 0.5, "type": "string"}')


def test_properties_come_as_required_lists_them_and_then_by_name() -> None:
    inner = {"properties": {"z": {}, "y": {}}, "required": ["z", "z", "gone"]}
    taken = as_engines_take_it(
        schema({"properties": {"a": {}, "b": inner, "c": {}, "d": {}}, "required": ["d", "b"], "anyOf": [inner]})
    )
    assert taken is not None
    read = json.loads(taken.text)
    assert list(read["properties"]) == ["d", "b", "a", "c"]
    assert list(read["properties"]["b"]["properties"]) == list(read["anyOf"][0]["properties"]) == ["z", "y"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FORMATS = st.one_of(
    st.dictionaries(st.sampled_from(["type", "properties", "required", "x"]), VALUES, max_size=4).map(schema),
    st.text(max_size=40).map(lambda text: ResponseFormat(regex=text)),
    st.lists(st.text(max_size=8), max_size=5).map(lambda texts: choice(*texts)),
    st.just(ResponseFormat()),
    st.binary(max_size=20).map(lambda data: ResponseFormat(json_schema=Struct(fields={data.hex(): Value()}))),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(response_format=FORMATS, has_tools=st.booleans())
async def test_any_format_reaches_the_engine_as_text_or_is_refused_by_name(
    response_format: ResponseFormat, has_tools: bool
) -> None:
    tools = [FunctionDeclaration(name="clock")] if has_tools else []
    try:
        parsed = await CODEC.parse(asked(response_format, tools=tools))
    except InvalidRequest as error:
        assert all(item.field.startswith(FIELD) for item in error.violations)  # noqa: PT017
        return
    if parsed.sampling.response_format is None:
        assert response_format.WhichOneof("format") is None
        return
    taken = as_engines_take_it(parsed.sampling.response_format)
    assert taken is not None
    assert taken.kind == response_format.WhichOneof("format")
    if taken.kind in ("json_schema", "choice"):
        json.loads(taken.text)
