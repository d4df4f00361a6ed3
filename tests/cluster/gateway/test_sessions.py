"""Conversations over real gRPC: what is stored, what the model gets, and what SessionService refuses."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from cluster.client import Client, request, text_content
from cluster.errors import AlreadyExists, InvalidRequest, NotFound, SessionConflict
from protos.gemmacluster.v1.content_pb2 import ROLE_SYSTEM, ROLE_TOOL, Blob, Content, Part
from protos.gemmacluster.v1.session_pb2 import (
    CreateSessionRequest,
    DeleteSessionRequest,
    GetSessionRequest,
    ListSessionsRequest,
    Session,
)
from protos.gemmacluster.v1.session_pb2_grpc import SessionServiceStub
from tests.cluster.gateway.errors_of import raises_cluster_error
from tests.cluster.gateway.local_gateway import LARGE, SMALL, LocalGateway


@pytest.fixture
def stub(gateway: LocalGateway) -> Iterator[SessionServiceStub]:
    """The raw service, for what the client does not offer."""
    with grpc.insecure_channel(gateway.address) as channel:
        yield SessionServiceStub(channel)


def _texts(contents: list[Content]) -> list[str]:
    return ["".join(part.text for part in content.parts) for content in contents]


def test_the_model_gets_what_was_said_before(client: Client) -> None:
    session = client.create_session()
    first = client.generate("my colour is teal", model=SMALL, session=session.session_id)
    second = client.generate("what is it", model=SMALL, session=session.session_id)
    assert "teal" in second.content.parts[0].text
    assert (first.session.turns, second.session.turns) == (1, 2)
    assert len({session.etag, first.session.etag, second.session.etag}) == 3


def test_what_is_stored_is_what_was_said_and_streamed(client: Client) -> None:
    session = client.create_session()
    pieces = list(client.stream("hello there", model=LARGE, session=session.session_id))
    stored = client.get_session(session.session_id)
    assert _texts(list(stored.contents)) == ["hello there", "".join(piece.text for piece in pieces)]
    assert stored.session.etag == pieces[-1].response.session.etag
    assert stored.session.variant_pin == LARGE


def test_a_session_stays_on_its_variant(client: Client) -> None:
    session = client.create_session()
    client.generate("hi", model=LARGE, session=session.session_id)
    routing = client.route("and now?", session=session.session_id).routing
    assert (routing.variant, routing.reasons[0].code) == (LARGE, "SESSION_PIN")
    assert client.count_tokens("and now?", session=session.session_id).variant == LARGE


def test_the_sessions_instructions_reach_the_model(client: Client) -> None:
    session = client.create_session(system="Speak like a pirate.")
    answer = client.generate("hi", model=SMALL, session=session.session_id)
    assert "Speak like a pirate." in answer.content.parts[0].text
    assert client.get_session(session.session_id).session.system_instruction == text_content(
        "Speak like a pirate.", ROLE_SYSTEM
    )


def test_a_turn_cannot_change_the_instructions(client: Client) -> None:
    session = client.create_session()
    with pytest.raises(InvalidRequest) as caught:
        client.generate("hi", session=session.session_id, system="Obey me.")
    assert [item.field for item in caught.value.violations] == ["system_instruction"]


@pytest.mark.parametrize("method", ["generate", "route", "count_tokens"])
def test_a_session_that_never_was_is_not_found(client: Client, method: str) -> None:
    with pytest.raises(NotFound) as caught:
        getattr(client, method)("hi", session="no-such-session")
    assert caught.value.resource_name == "no-such-session"


def test_a_turn_on_an_old_etag_is_aborted_before_it_runs(client: Client, gateway: LocalGateway) -> None:
    session = client.create_session()
    client.generate("first", model=SMALL, session=session.session_id)
    late = request("second", model=SMALL, session=session.session_id)
    late.session_etag = session.etag
    with pytest.raises(SessionConflict):
        client.raw_generate(late)
    assert len(gateway.engine().requests) == 1


def test_a_turn_that_has_no_room_is_refused_before_it_runs(client: Client, gateway: LocalGateway) -> None:
    session = client.create_session()
    with pytest.raises(InvalidRequest) as caught:
        client.generate("x" * 1_100_000, session=session.session_id)
    assert [item.field for item in caught.value.violations] == ["session_id"]
    assert gateway.engine().requests == []


def test_a_session_without_a_request_keeps_nothing(client: Client, gateway: LocalGateway) -> None:
    answer = client.generate("hi", model=SMALL)
    assert not answer.HasField("session")


def test_create_keeps_what_it_is_given(stub: SessionServiceStub) -> None:
    message = CreateSessionRequest(variant_pin=LARGE, system_instruction=Content(parts=[Part(text="Be brief.")]))
    message.ttl.FromMilliseconds(1_500)
    session = stub.CreateSession(message).session
    assert session.variant_pin == LARGE
    assert session.system_instruction == text_content("Be brief.", ROLE_SYSTEM)
    assert session.ttl.ToMilliseconds() == 1_500
    assert session.expire_time.ToMilliseconds() - session.create_time.ToMilliseconds() == pytest.approx(1_500, abs=1)
    assert stub.GetSession(GetSessionRequest(session_id=session.session_id)).session == session


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (CreateSessionRequest(session_id="with space"), "session_id"),
        (CreateSessionRequest(variant_pin="gemma-9000"), "variant_pin"),
        (CreateSessionRequest(system_instruction=Content()), "system_instruction.parts"),
        (CreateSessionRequest(system_instruction=Content(parts=[Part()])), "system_instruction.parts[0]"),
        (
            CreateSessionRequest(system_instruction=Content(role=ROLE_TOOL, parts=[Part(text="x")])),
            "system_instruction.role",
        ),
        (
            CreateSessionRequest(system_instruction=Content(parts=[Part(inline_data=Blob(mime_type="image/png"))])),
            "system_instruction.parts[0].inline_data",
        ),
        (CreateSessionRequest(ttl={"seconds": 0}), "ttl"),
        (CreateSessionRequest(ttl={"seconds": -5}), "ttl"),
        (CreateSessionRequest(ttl={"seconds": 10**12}), "ttl"),
    ],
)
def test_a_session_that_cannot_be_made_names_the_field(
    stub: SessionServiceStub, message: CreateSessionRequest, field: str
) -> None:
    with raises_cluster_error(InvalidRequest) as caught:
        stub.CreateSession(message)
    assert [item.field for item in caught.error.violations] == [field]


def test_a_taken_id_already_exists(client: Client) -> None:
    session = client.create_session()
    with pytest.raises(AlreadyExists) as caught:
        client.create_session(session.session_id)
    assert caught.value.resource_name == session.session_id


def test_contents_come_only_when_asked_for(client: Client) -> None:
    session = client.create_session()
    client.generate("hi", model=SMALL, session=session.session_id)
    assert len(client.get_session(session.session_id).contents) == 2
    assert len(client.get_session(session.session_id, include_contents=False).contents) == 0


def test_sessions_are_listed_newest_first_page_by_page(client: Client, stub: SessionServiceStub) -> None:
    made = [client.create_session().session_id for _ in range(3)]
    listed: list[Session] = []
    token = ""
    while len(listed) < 3:
        page = stub.ListSessions(ListSessionsRequest(page_size=2, page_token=token))
        assert len(page.sessions) <= 2
        listed += page.sessions
        token = page.next_page_token
    assert [session.session_id for session in listed][:3] == made[::-1]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (ListSessionsRequest(page_size=-1), "page_size"),
        (ListSessionsRequest(page_size=1001), "page_size"),
        (ListSessionsRequest(page_token="nonsense"), "page_token"),
    ],
)
def test_a_page_that_cannot_be_read_names_the_field(
    stub: SessionServiceStub, message: ListSessionsRequest, field: str
) -> None:
    with raises_cluster_error(InvalidRequest) as caught:
        stub.ListSessions(message)
    assert [item.field for item in caught.error.violations] == [field]


def test_a_deleted_session_is_not_found(client: Client) -> None:
    session = client.create_session()
    client.delete_session(session.session_id)
    for call in (client.get_session, client.delete_session):
        with pytest.raises(NotFound):
            call(session.session_id)


def test_deleting_on_an_old_etag_is_aborted(client: Client, stub: SessionServiceStub) -> None:
    session = client.create_session()
    client.generate("hi", model=SMALL, session=session.session_id)
    with raises_cluster_error(SessionConflict):
        stub.DeleteSession(DeleteSessionRequest(session_id=session.session_id, etag=session.etag))
    assert client.get_session(session.session_id).session.turns == 1
