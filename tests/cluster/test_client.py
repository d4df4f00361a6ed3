"""The Python client against a real gateway: every call, every error, and what it leaves behind."""

from __future__ import annotations

import concurrent.futures
import mimetypes
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cluster.client import Client, Piece, function, function_results, media_part, request, text_content
from cluster.engines.base import EngineOutput
from cluster.errors import InvalidRequest, NotFound, NoVariant
from cluster.media.kinds import KINDS, kind_of
from protos.gemmacluster.v1 import content_pb2, generation_pb2
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import LARGE, SMALL, LocalGateway
from tests.cluster.media_samples import image
from tests.ports import free_port

FILES = {
    "image/png": ["png", "PNG"],
    "image/jpeg": ["jpg", "jpeg"],
    "image/webp": ["webp"],
    "image/gif": ["gif"],
    "audio/wav": ["wav"],
    "audio/flac": ["flac"],
    "audio/mpeg": ["mp3"],
    "audio/ogg": ["ogg", "oga", "opus"],
    "video/mp4": ["mp4"],
    "video/webm": ["webm"],
}


def test_a_stream_joins_to_the_whole_answer(client: Client) -> None:
    pieces = list(client.stream("one two three", model=SMALL))
    assert (
        "".join(piece.text for piece in pieces) == client.generate("one two three", model=SMALL).content.parts[0].text
    )


def test_leaving_the_loop_early_cancels_the_answer(client: Client, gateway: LocalGateway) -> None:
    async def hook(at: int, output: EngineOutput) -> None:
        if at:
            await never(at, output)

    gateway.engine().hook = hook
    for piece in client.stream("one two three", model=SMALL):
        assert piece.text
        break
    assert gateway.becomes_idle()


def test_one_client_serves_many_threads(client: Client) -> None:
    texts = [f"message number {n}" for n in range(12)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda text: client.generate(text, model=SMALL), texts))
    assert all(text in answer.content.parts[0].text for text, answer in zip(texts, answers, strict=True))


def test_a_server_error_is_the_error_that_made_it(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.generate("hi", model="gemma-9000", temperature=-1)
    assert {item.field for item in caught.value.violations} == {"model", "generation_config.temperature"}
    with pytest.raises(NoVariant):
        client.generate("word " * 100_000)
    with pytest.raises(NotFound):
        next(client.stream("hi", session="no-such-session"))


def test_what_never_reaches_a_gateway_is_grpcs_own_error() -> None:
    with Client(f"127.0.0.1:{free_port()}", timeout_s=5) as client, pytest.raises(grpc.RpcError) as caught:
        client.models()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Where somebody takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_the_timeout_holds_for_every_call(silent_address: str) -> None:
    with Client(silent_address, timeout_s=0.05) as client:
        calls = [
            lambda: list(client.stream("hi")),
            lambda: client.generate("hi"),
            lambda: client.route("hi"),
            lambda: client.count_tokens("hi"),
            client.models,
            client.create_session,
            lambda: client.get_session("s"),
            lambda: client.ensure_session("s"),
            lambda: client.delete_session("s"),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_ensure_session_makes_one_once(client: Client) -> None:
    made = client.ensure_session("ensured", system="Be brief.")
    assert made.system_instruction == text_content("Be brief.", content_pb2.ROLE_SYSTEM)
    client.generate("hi", session="ensured", model=SMALL)
    again = client.ensure_session("ensured", system="Be long.")
    assert (again.session_id, again.create_time, again.turns) == ("ensured", made.create_time, 1)
    assert again.system_instruction == made.system_instruction
    client.delete_session("ensured")


def test_request_puts_each_value_in_its_field() -> None:
    built = request(
        "hi",
        model=LARGE,
        session="s",
        system="Be brief.",
        allowed_variants=["a", "b"],
        preference="best",
        max_output_tokens=5,
        temperature=0,
        stop_sequences=["x"],
        thinking=True,
    )
    assert built == generation_pb2.GenerateRequest(
        model=LARGE,
        session_id="s",
        contents=[content_pb2.Content(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="hi")])],
        system_instruction=text_content("Be brief.", content_pb2.ROLE_SYSTEM),
        generation_config=generation_pb2.GenerationConfig(
            max_output_tokens=5, temperature=0, stop_sequences=["x"], thinking=True
        ),
        routing=generation_pb2.RoutingPreferences(
            preference=generation_pb2.ROUTING_PREFERENCE_BEST, allowed_variants=["a", "b"]
        ),
    )


def test_what_is_not_said_is_not_set() -> None:
    built = request("hi")
    assert not built.HasField("system_instruction")
    assert not any(built.generation_config.HasField(name) for name in ("temperature", "top_k", "top_p", "seed"))
    assert built.routing.preference == generation_pb2.ROUTING_PREFERENCE_UNSPECIFIED


@pytest.mark.parametrize("preference", ["fast", "balanced", "best"])
def test_every_preference_has_its_enum_value(preference: str) -> None:
    number = request("hi", preference=preference).routing.preference
    assert generation_pb2.RoutingPreference.Name(number) == f"ROUTING_PREFERENCE_{preference.upper()}"


@pytest.mark.parametrize(
    "options",
    [
        {"preference": "cheapest"},
        {"preference": "unspecified"},
        {"max_tokens": 5},
        {"max_output_tokens": 10**12},
        {"seed": 2**63},
        {"stop_sequences": ["\udcff"]},
        {"system": "\udcff"},
    ],
)
def test_values_that_no_message_holds_are_invalid(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        request("hi", **options)


def test_a_conversation_is_sent_as_it_is() -> None:
    turns = [text_content("a"), text_content("b", content_pb2.ROLE_MODEL), text_content("c")]
    assert list(request(turns).contents) == turns
    assert list(request(turns[0]).contents) == turns[:1]


def test_files_come_before_the_text(tmp_path: Path, client: Client) -> None:
    file = tmp_path / "ramp.png"
    file.write_bytes(image("PNG"))
    parts = request("what is it?", media=[file, str(file)]).contents[0].parts
    assert [part.WhichOneof("data") for part in parts] == ["inline_data", "inline_data", "text"]
    assert parts[0].inline_data == content_pb2.Blob(mime_type="image/png", data=image("PNG"))
    assert client.route("what is it?", media=[file]).routing.variant


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        request("hi", media=[tmp_path / "missing.png"])


def test_every_kind_of_media_has_a_file_name() -> None:
    assert set(FILES) == set(KINDS)


@pytest.mark.parametrize(("mime_type", "suffix"), [(kind, suffix) for kind, names in FILES.items() for suffix in names])
def test_a_files_name_tells_its_kind_even_without_the_systems_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mime_type: str, suffix: str
) -> None:
    monkeypatch.setattr(mimetypes, "_db", mimetypes.MimeTypes())
    file = tmp_path / f"media.{suffix}"
    file.write_bytes(b"data")
    assert kind_of(media_part(file).inline_data.mime_type).mime_type == mime_type


def test_a_file_of_an_unknown_kind_says_so(tmp_path: Path) -> None:
    file = tmp_path / "thing.xyzzy"
    file.write_bytes(b"data")
    assert media_part(file).inline_data.mime_type == "application/octet-stream"


def test_a_piece_tells_text_thoughts_and_calls_apart() -> None:
    parts = [{"text": "a"}, {"text": "b", "thought": True}, {"function_call": {"name": "f"}}, {"text": "c"}]
    response = generation_pb2.StreamGenerateResponse(content={"parts": parts})
    assert Piece.of(response) == Piece("ac", response, "b", (content_pb2.FunctionCall(name="f"),))


def test_a_function_is_declared_with_the_schemas_of_its_parameters(client: Client, gateway: LocalGateway) -> None:
    tool = function("weather", "Tells the weather", city={"type": "string"}, days={"type": "integer"})
    assert tool.parameters["required"] == ["city", "days"]
    assert list(function("tell", "Tells somebody", name={"type": "string"}).parameters["properties"]) == ["name"]
    assert tool.parameters["properties"]["days"] == {"type": "integer"}
    assert client.count_tokens("hi", tools=[tool]).total_tokens > client.count_tokens("hi").total_tokens
    assert client.generate("hi", tools=[tool, function("now", "Tells the time")]).finish_reason


def test_results_answer_their_calls() -> None:
    calls = [content_pb2.FunctionCall(id="1", name="f"), content_pb2.FunctionCall(id="2", name="g")]
    content = function_results((calls[0], {"a": 1}), (calls[1], {}))
    assert content.role == content_pb2.ROLE_TOOL
    results = [part.function_response for part in content.parts]
    assert [(result.id, result.name, dict(result.response)) for result in results] == [
        ("1", "f", {"a": 1}),
        ("2", "g", {}),
    ]
