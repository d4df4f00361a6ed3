"""Members and page tokens: exact places in a list of sessions."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InvalidRequest
from cluster.sessions.index import Member, page_token, parse_page_token
from cluster.sessions.listing import member_of
from cluster.sessions.record import SessionRecord

IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)
MICROSECONDS = st.integers(0, 4_000_000_000_000_000)


@given(st.tuples(MICROSECONDS, IDS), st.tuples(MICROSECONDS, IDS))
def test_members_sort_as_their_bytes_do(left: tuple[int, str], right: tuple[int, str]) -> None:
    assert (Member(*left) < Member(*right)) == (Member(*left).encode() < Member(*right).encode())


@given(MICROSECONDS, IDS)
def test_a_token_leads_back_to_its_member(created_us: int, session_id: str) -> None:
    member = Member(created_us, session_id)
    assert parse_page_token(page_token(member)) == member


@given(MICROSECONDS, IDS)
def test_a_records_member_is_exact_to_the_microsecond(created_us: int, session_id: str) -> None:
    record = SessionRecord(session_id, "e", created_us / 1e6, 0, 0, 1, 0, None, None)
    assert member_of(record) == Member(created_us, session_id)


def test_no_token_is_the_first_page() -> None:
    assert parse_page_token("") is None


@pytest.mark.parametrize(
    "token",
    ["x", "not base64!", "é", base64.urlsafe_b64encode(b"12:abc").decode(), base64.b64encode(b"\xff" * 20).decode()],
)
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        parse_page_token(token)
