"""GenerateRequest -> ParsedRequest: every field checked, defaults made explicit, media decoded."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence

from cluster.codec.contents import check_contents, check_system_instruction, role_of
from cluster.codec.response_format import check_response_format
from cluster.codec.sampling import parse_sampling
from cluster.codec.tools import check_tools
from cluster.codec.violations import Violations, listed, shown
from cluster.errors import InvalidRequest, NotSupported
from cluster.media import inspect_contents
from cluster.request import AUTO, MediaInfo, ParsedRequest, Preference, Priority
from protos.gemmacluster.v1.content_pb2 import ROLE_SYSTEM, ROLE_UNSPECIFIED, Content
from protos.gemmacluster.v1.generation_pb2 import (
    PRIORITY_BATCH,
    PRIORITY_INTERACTIVE,
    PRIORITY_UNSPECIFIED,
    ROUTING_PREFERENCE_BALANCED,
    ROUTING_PREFERENCE_BEST,
    ROUTING_PREFERENCE_FAST,
    ROUTING_PREFERENCE_UNSPECIFIED,
    GenerateRequest,
    RoutingPreferences,
)

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ID_RULE = "must be 1 to 128 letters, digits, '-', '_', '.' or ':'"
_MAX_ETAG_CHARS = 256
_PREFERENCES: dict[int, Preference] = {
    ROUTING_PREFERENCE_UNSPECIFIED: "balanced",
    ROUTING_PREFERENCE_FAST: "fast",
    ROUTING_PREFERENCE_BALANCED: "balanced",
    ROUTING_PREFERENCE_BEST: "best",
}
_PRIORITIES: dict[int, Priority | None] = {
    PRIORITY_UNSPECIFIED: None,
    PRIORITY_INTERACTIVE: "interactive",
    PRIORITY_BATCH: "batch",
}


class Codec:
    """Parses requests for a cluster that serves these variants."""

    def __init__(self, variants: Collection[str]) -> None:
        self._variants = sorted(variants)

    async def parse(self, request: GenerateRequest) -> ParsedRequest:
        """The checked request.

        Raises InvalidRequest with every violation, or NotSupported if all that is wrong is media by reference.
        """
        violations = Violations()
        self._check_routing(request, violations)
        _check_ids(request, violations)
        _check_system(request, violations)
        sampling = parse_sampling(request.generation_config, violations)
        check_tools(request.tools, violations)
        check_response_format(request.generation_config.response_format, bool(request.tools), violations)
        media = await _check_conversation(request, violations)
        violations.raise_any()
        _refuse_references(request.contents)
        system, contents = _split(request)
        return ParsedRequest(
            request_id=request.request_id or str(uuid.uuid4()),
            contents=contents,
            model=request.model or AUTO,
            system_instruction=system,
            sampling=sampling,
            thinking=request.generation_config.thinking,
            preference=_PREFERENCES[request.routing.preference],
            allowed_variants=tuple(dict.fromkeys(request.routing.allowed_variants)),
            max_cost=_max_cost(request.routing),
            session_id=request.session_id or None,
            session_etag=request.session_etag or None,
            tools=tuple(request.tools),
            media=media,
            priority=_PRIORITIES[request.priority],
        )

    def _check_routing(self, request: GenerateRequest, violations: Violations) -> None:
        known, routing = (AUTO, *self._variants), request.routing
        if request.model and request.model not in known:
            violations.add("model", f"{shown(request.model)} is not served; use {listed(known)}")
        for i, name in enumerate(routing.allowed_variants):
            rule = f"{shown(name)} is not served; use {listed(self._variants)}"
            violations.require(name in self._variants, f"routing.allowed_variants[{i}]", rule)
        is_known = routing.preference in _PREFERENCES
        violations.require(is_known, "routing.preference", f"{routing.preference} is no preference")
        violations.require(request.priority in _PRIORITIES, "priority", f"{request.priority} is no priority")
        max_cost = _max_cost(routing)
        if max_cost is not None and not max_cost > 0:  # NaN too
            violations.add("routing.max_cost", f"must be above 0, not {max_cost:g}")


def parse_system_instruction(content: Content) -> Content:
    """Instructions as a session stores them. Raises InvalidRequest with every violation."""
    violations = Violations()
    check_system_instruction(content, "system_instruction", violations)
    violations.raise_any()
    return Content(role=ROLE_SYSTEM, parts=content.parts)


def _check_ids(request: GenerateRequest, violations: Violations) -> None:
    for name in ("request_id", "session_id"):
        value = getattr(request, name)
        if value and not _ID.fullmatch(value):
            violations.add(name, f"{_ID_RULE}, not {shown(value)}")
    if request.resumable and not request.request_id:
        violations.add("resumable", "is set without a request_id to resume by")
    if request.session_etag and not request.session_id:
        violations.add("session_etag", "is set without a session_id")
    if len(request.session_etag) > _MAX_ETAG_CHARS:
        violations.add("session_etag", f"must have at most {_MAX_ETAG_CHARS} characters")


def _check_system(request: GenerateRequest, violations: Violations) -> None:
    if not request.HasField("system_instruction"):
        return
    field = "system_instruction"
    check_system_instruction(request.system_instruction, field, violations)
    if request.session_id:
        violations.add(field, "must be left unset: a session keeps the instructions of its creation")
    elif request.contents and request.contents[0].role == ROLE_SYSTEM:
        violations.add(field, "must be left unset when the first content is a system content")


async def _check_conversation(request: GenerateRequest, violations: Violations) -> dict[str, MediaInfo]:
    if not check_contents(request.contents, bool(request.session_id), violations):
        return {}
    try:
        return await inspect_contents(request.contents)
    except InvalidRequest as error:
        violations.extend(error.violations)
        return {}


def _refuse_references(contents: Sequence[Content]) -> None:
    for i, content in enumerate(contents):
        for j, part in enumerate(content.parts):
            if part.HasField("file_data"):
                field = f"contents[{i}].parts[{j}].file_data"
                raise NotSupported(f"{field}: media by reference is not supported; send the bytes as inline_data")


def _split(request: GenerateRequest) -> tuple[Content | None, tuple[Content, ...]]:
    """The instructions, wherever they stood, and the conversation with every role set."""
    contents = [_with_role(content) for content in request.contents]
    if contents[0].role == ROLE_SYSTEM:
        return contents[0], tuple(contents[1:])
    if not request.HasField("system_instruction"):
        return None, tuple(contents)
    return Content(role=ROLE_SYSTEM, parts=request.system_instruction.parts), tuple(contents)


def _with_role(content: Content) -> Content:
    if content.role != ROLE_UNSPECIFIED:
        return content
    return Content(role=role_of(content), parts=content.parts)


def _max_cost(routing: RoutingPreferences) -> float | None:
    return routing.max_cost if routing.HasField("max_cost") else None
