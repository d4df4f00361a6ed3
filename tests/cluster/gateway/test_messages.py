"""Our own records as public messages: nothing is rounded away, nothing made up."""

from __future__ import annotations

import pytest

from cluster.gateway import messages
from cluster.routing import Reason, RouteDecision
from cluster.sessions.record import SessionRecord
from protos.gemmacluster.v1.content_pb2 import MODALITY_IMAGE, MODALITY_TEXT, Content, Part

RECORD = SessionRecord(
    session_id="s",
    etag="3",
    created_at=1_700_000_000.125,
    updated_at=1_700_000_001.5,
    expires_at=1_700_000_005.25,
    ttl_s=3.75,
    turns=3,
    variant_pin=None,
    system_instruction=None,
)


def test_a_ttl_keeps_its_fractions() -> None:
    assert messages.session(RECORD).ttl.ToMilliseconds() == 3_750


@pytest.mark.parametrize(
    ("field", "milliseconds"),
    [("create_time", 1_700_000_000_125), ("update_time", 1_700_000_001_500), ("expire_time", 1_700_000_005_250)],
)
def test_times_keep_their_milliseconds(field: str, milliseconds: int) -> None:
    assert getattr(messages.session(RECORD), field).ToMilliseconds() == milliseconds


def test_what_a_session_lacks_is_not_set() -> None:
    message = messages.session(RECORD)
    assert not message.HasField("system_instruction")
    assert message.variant_pin == ""


def test_a_session_has_its_instructions_and_pin() -> None:
    content = Content(parts=[Part(text="Be brief.")])
    record = SessionRecord(**{**vars(RECORD), "system_instruction": content, "variant_pin": "e4b"})
    message = messages.session(record)
    assert (message.system_instruction, message.variant_pin) == (content, "e4b")


def test_modalities_without_tokens_are_left_out() -> None:
    listed = messages.modality_tokens({"text": 3, "image": 70, "audio": 0})
    assert [(item.modality, item.tokens) for item in listed] == [(MODALITY_TEXT, 3), (MODALITY_IMAGE, 70)]


def test_reasons_keep_their_order() -> None:
    reasons = (Reason("FAST", "a", "smallest first"), Reason("COST", "b", "too dear"))
    info = messages.routing_info(RouteDecision("a", ("a",), reasons, 5))
    assert [(item.code, item.variant, item.message) for item in info.reasons] == [
        ("FAST", "a", "smallest first"),
        ("COST", "b", "too dear"),
    ]
    assert info.queue_ms == 0
