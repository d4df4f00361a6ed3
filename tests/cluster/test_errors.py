"""The error tree: each error crosses a process as a status and comes out as it was."""

from __future__ import annotations

import re

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import cluster.errors
from cluster.errors import (
    AlreadyExists,
    ClusterError,
    DeadlineTooShort,
    FieldViolation,
    InvalidRequest,
    NotFound,
    NotResumable,
    NotSupported,
    NoVariant,
    OutOfRange,
    Overloaded,
    QuotaExceeded,
    ReplicaLeaves,
    ReplicaLost,
    ReplicaSilent,
    SessionConflict,
    Unavailable,
    error_from_status,
)

RESOURCE = {"resource_type": "Session", "resource_name": "s-1"}
ERRORS = [
    ClusterError("broken"),
    InvalidRequest([FieldViolation("a.b[0]", "is bad"), FieldViolation("c", "is worse — ✗")]),
    NotFound("gone", **RESOURCE),
    AlreadyExists("there", **RESOURCE),
    NoVariant("none", [("COST", "e2b", "too dear"), ("LOAD", "31b", "busy")]),
    NotResumable("r-1", "ask again"),
    OutOfRange("after_chunk_index", "is beyond"),
    SessionConflict("lost", **RESOURCE),
    Overloaded("full", retry_after_s=2.5),
    DeadlineTooShort("late", retry_after_s=7),
    QuotaExceeded("enough", subject="caller:a", retry_after_s=3),
    Unavailable("away", retry_after_s=0.001),
    ReplicaLost("killed"),
    ReplicaLeaves("drained"),
    ReplicaSilent("stopped"),
    NotSupported("later"),
]


def _kinds(root: type[ClusterError]) -> set[type[ClusterError]]:
    """All public kinds of error."""
    found = {root}.union(*(_kinds(kind) for kind in root.__subclasses__()))
    return {kind for kind in found if not kind.__name__.startswith("_")}


def test_the_samples_here_are_the_whole_tree() -> None:
    assert {type(error) for error in ERRORS} == _kinds(ClusterError)


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    drawn = dict(re.findall(r"^[│├└─ ]*(\w+) {2,}([A-Z_]+)\b", cluster.errors.__doc__ or "", re.MULTILINE))
    assert drawn == {kind.__name__: kind.code.name for kind in _kinds(ClusterError)}


def test_reasons_tell_the_kinds_apart() -> None:
    assert len({kind.reason for kind in _kinds(ClusterError)}) == len(_kinds(ClusterError))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_as_a_status(error: ClusterError) -> None:
    again = error_from_status(status_pb2.Status.FromString(error.to_status().SerializeToString()))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.to_status() == error.to_status()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_status_has_the_code_of_its_kind_and_says_whose_it_is(error: ClusterError) -> None:
    status = error.to_status()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.code == error.code.value[0] != 0
    assert (info.reason, info.domain) == (error.reason, "gemma-cluster")


def test_violations_keep_their_fields() -> None:
    error = error_from_status(ERRORS[1].to_status())
    assert isinstance(error, InvalidRequest)
    assert error.violations == [FieldViolation("a.b[0]", "is bad"), FieldViolation("c", "is worse — ✗")]
    assert str(error) == "a.b[0]: is bad; c: is worse — ✗"


def test_one_field_is_enough() -> None:
    assert InvalidRequest.of("ttl", "too long").violations == [FieldViolation("ttl", "too long")]


@pytest.mark.parametrize("kind", [NotFound, AlreadyExists, SessionConflict])
def test_a_resource_keeps_its_name(kind: type[NotFound]) -> None:
    error = error_from_status(kind("about it", **RESOURCE).to_status())
    assert isinstance(error, kind)
    assert error.resource_name == "s-1"


def test_passed_over_variants_keep_their_reasons() -> None:
    error = error_from_status(ERRORS[4].to_status())
    assert isinstance(error, NoVariant)
    assert error.violations == [("COST", "e2b", "too dear"), ("LOAD", "31b", "busy")]


@pytest.mark.parametrize("kind", [Overloaded, Unavailable])
@pytest.mark.parametrize("retry_after_s", [0.001, 1.0, 90.5])
def test_the_retry_time_survives(kind: type[Overloaded], retry_after_s: float) -> None:
    error = error_from_status(kind("later", retry_after_s=retry_after_s).to_status())
    assert isinstance(error, kind)
    assert error.retry_after_s == pytest.approx(retry_after_s)


def _status(*details: object) -> status_pb2.Status:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="m")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


@pytest.mark.parametrize(
    "status",
    [
        _status(),
        _status(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="somebody.else")),
        _status(error_details_pb2.ErrorInfo(reason="A_LATER_REASON", domain="gemma-cluster")),
        _status(error_details_pb2.ResourceInfo(resource_name="s")),
    ],
)
def test_a_status_of_somebody_else_is_not_ours(status: status_pb2.Status) -> None:
    assert error_from_status(status) is None


def test_details_of_an_unknown_kind_do_no_harm() -> None:
    info = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="gemma-cluster")
    error = error_from_status(_status(info, error_details_pb2.Help()))
    assert isinstance(error, NotFound)
    assert error.resource_name == ""
