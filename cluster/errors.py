"""Every error a caller can see, each with its gRPC code and google.rpc details.

ClusterError                 INTERNAL
├── InvalidRequest           INVALID_ARGUMENT     BadRequest: a violation for each field
├── NotFound                 NOT_FOUND            ResourceInfo
├── AlreadyExists            ALREADY_EXISTS       ResourceInfo
├── NoVariant                FAILED_PRECONDITION  PreconditionFailure: why each variant was passed over
├── NotResumable             FAILED_PRECONDITION  PreconditionFailure
├── OutOfRange               OUT_OF_RANGE         BadRequest: the field that points too far
├── SessionConflict          ABORTED              ResourceInfo
├── Overloaded               RESOURCE_EXHAUSTED   RetryInfo
│   ├── DeadlineTooShort     RESOURCE_EXHAUSTED   RetryInfo
│   └── QuotaExceeded        RESOURCE_EXHAUSTED   RetryInfo, QuotaFailure
├── Unavailable              UNAVAILABLE          RetryInfo
│   └── ReplicaLost          UNAVAILABLE          RetryInfo; callers see it as Unavailable
│       ├── ReplicaLeaves    UNAVAILABLE          the same
│       └── ReplicaSilent    UNAVAILABLE          the same
└── NotSupported             UNIMPLEMENTED

Gateway, replica and client share this tree: a replica's error crosses to the gateway, and the server's to the
client, as a google.rpc.Status (AIP-193).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "gemma-cluster"
_DETAIL_TYPES: tuple[type[Message], ...] = (
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)
_D = TypeVar("_D", bound=Message)


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with one field, by its path in the request, such as `contents[0].parts[1].text`."""

    field: str
    description: str


class ClusterError(Exception):
    """Something went wrong here; also the root of the tree."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._details: tuple[Message, ...] = ()

    def _detail(self, kind: type[_D]) -> _D:
        """The detail of that kind, empty when there is none."""
        return next((detail for detail in self._details if isinstance(detail, kind)), kind())

    def to_status(self) -> status_pb2.Status:
        """This error as a google.rpc.Status."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        packed = []
        for detail in (info, *self._details):
            any_message = any_pb2.Any()
            any_message.Pack(detail)
            packed.append(any_message)
        return status_pb2.Status(code=self.code.value[0], message=str(self), details=packed)


class InvalidRequest(ClusterError):
    """The request is malformed; sending it again unchanged cannot help."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{item.field}: {item.description}" for item in violations))
        violation = error_details_pb2.BadRequest.FieldViolation
        field_violations = [violation(field=item.field, description=item.description) for item in violations]
        self._details = (error_details_pb2.BadRequest(field_violations=field_violations),)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """An error about one field."""
        return cls([FieldViolation(field, description)])

    @property
    def violations(self) -> list[FieldViolation]:
        """What is wrong with which field."""
        detail = self._detail(error_details_pb2.BadRequest)
        return [FieldViolation(item.field, item.description) for item in detail.field_violations]


class _ResourceError(ClusterError):
    """An error about one named resource."""

    def __init__(self, message: str, *, resource_type: str, resource_name: str) -> None:
        super().__init__(message)
        resource = error_details_pb2.ResourceInfo(
            resource_type=resource_type, resource_name=resource_name, description=message
        )
        self._details = (resource,)

    @property
    def resource_name(self) -> str:
        """The resource it is about."""
        return str(self._detail(error_details_pb2.ResourceInfo).resource_name)


class NotFound(_ResourceError):
    """What the request names is not there."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(_ResourceError):
    """What the request would make is there already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class SessionConflict(_ResourceError):
    """Another turn on the session won; read the session and try again."""

    code = grpc.StatusCode.ABORTED
    reason = "SESSION_CONFLICT"


class NoVariant(ClusterError):
    """No variant can take the request: its modality, its length, or the caller's own limits forbid it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NO_VARIANT"

    def __init__(self, message: str, violations: Sequence[tuple[str, str, str]]) -> None:
        """Takes (reason code, variant, description) for each variant passed over."""
        super().__init__(message)
        violation = error_details_pb2.PreconditionFailure.Violation
        listed = [violation(type=kind, subject=variant, description=text) for kind, variant, text in violations]
        self._details = (error_details_pb2.PreconditionFailure(violations=listed),)

    @property
    def violations(self) -> list[tuple[str, str, str]]:
        """(reason code, variant, description) for each variant passed over."""
        detail = self._detail(error_details_pb2.PreconditionFailure)
        return [(item.type, item.subject, item.description) for item in detail.violations]


class NotResumable(ClusterError):
    """The answer was not asked for as one that can be taken up again."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "NOT_RESUMABLE"

    def __init__(self, request_id: str, message: str) -> None:
        super().__init__(message)
        violation = error_details_pb2.PreconditionFailure.Violation
        listed = [violation(type=self.reason, subject=request_id, description=message)]
        self._details = (error_details_pb2.PreconditionFailure(violations=listed),)


class OutOfRange(ClusterError):
    """A field points outside of what is there."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "OUT_OF_RANGE"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        self._details = (error_details_pb2.BadRequest(field_violations=[violation]),)


class _RetryableError(ClusterError):
    """An error that goes away with time."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        self._details = (error_details_pb2.RetryInfo(retry_delay=delay),)

    @property
    def retry_after_s(self) -> float:
        """Seconds after which a retry makes sense."""
        return float(self._detail(error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() / 1e9)


class Overloaded(_RetryableError):
    """A queue or quota is full; nothing was started."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class DeadlineTooShort(Overloaded):
    """The call's turn would come too late for its deadline; nothing was started."""

    reason = "DEADLINE_TOO_SHORT"


class QuotaExceeded(Overloaded):
    """The caller has as much as it may have; nothing was started."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, *, subject: str, retry_after_s: float = 1.0) -> None:
        """`subject` is whose limit it is."""
        super().__init__(message, retry_after_s=retry_after_s)
        violation = error_details_pb2.QuotaFailure.Violation(subject=subject, description=message)
        self._details += (error_details_pb2.QuotaFailure(violations=[violation]),)


class Unavailable(_RetryableError):
    """A part of the cluster is away; a retry is safe."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class ReplicaLost(Unavailable):
    """The replica that computed an answer is lost; another can go on with it."""

    reason = "REPLICA_LOST"


class ReplicaLeaves(ReplicaLost):
    """The replica is drained, and what is left of the answer is for another."""

    reason = "REPLICA_LEAVES"


class ReplicaSilent(ReplicaLost):
    """The replica gives no sign of life, though nothing has closed its connection."""

    reason = "REPLICA_SILENT"


class NotSupported(ClusterError):
    """This release does not do that yet."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "NOT_SUPPORTED"


_BY_REASON: dict[str, type[ClusterError]] = {
    kind.reason: kind
    for kind in (
        ClusterError,
        InvalidRequest,
        NotFound,
        AlreadyExists,
        NoVariant,
        NotResumable,
        OutOfRange,
        SessionConflict,
        Overloaded,
        DeadlineTooShort,
        QuotaExceeded,
        Unavailable,
        ReplicaLost,
        ReplicaLeaves,
        ReplicaSilent,
        NotSupported,
    )
}


def error_from_status(status: status_pb2.Status) -> ClusterError | None:
    """The error that made this status, or None when it was not one of ours (gRPC's own, a proxy's)."""
    info, details = error_details_pb2.ErrorInfo(), []
    for any_message in status.details:
        any_message.Unpack(info)
        details += [kind.FromString(any_message.value) for kind in _DETAIL_TYPES if any_message.Is(kind.DESCRIPTOR)]
    if info.domain != DOMAIN or info.reason not in _BY_REASON:
        return None
    kind = _BY_REASON[info.reason]
    error = kind.__new__(kind)
    ClusterError.__init__(error, status.message)
    error._details = tuple(details)
    return error
