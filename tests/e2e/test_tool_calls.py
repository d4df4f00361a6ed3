"""A tool call through the whole system: thought and call, stored; the result in the next turn; the answer to it."""

from __future__ import annotations

from cluster.client import Client, Piece, function_results
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, ROLE_TOOL, ROLE_USER
from protos.gemmacluster.v1.generation_pb2 import FINISH_REASON_STOP
from tests.cluster.taught_answers import ASK, RESULT, TOOL


def test_a_tool_call_is_streamed_stored_and_answered(client: Client) -> None:
    options = {"model": "taught", "session": client.create_session().session_id, "tools": [TOOL], "thinking": True}
    pieces: list[Piece] = list(client.stream(ASK.contents, **options, temperature=0))
    assert "".join(piece.thought for piece in pieces) == "I must look."
    assert "".join(piece.text for piece in pieces) == ""
    (call,) = (call for piece in pieces for call in piece.calls)
    assert (call.name, dict(call.args)) == ("get_weather", {"city": "Paris", "days": 3})
    last = pieces[-1].response
    assert last.finish_reason == FINISH_REASON_STOP
    assert 0 < last.usage.thought_tokens < last.usage.output_tokens

    answer = client.generate(function_results((call, RESULT)), **options, temperature=0)
    assert [part.text for part in answer.content.parts] == ["Clear for three days."]
    contents = client.get_session(options["session"]).contents
    assert [content.role for content in contents] == [ROLE_USER, ROLE_MODEL, ROLE_TOOL, ROLE_MODEL]
    assert contents[1].parts[0].thought
    assert contents[1].parts[1].function_call == call
