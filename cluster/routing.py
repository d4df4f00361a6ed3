"""Chooses the variant for a request: a pure function over what each variant can do and how busy it is.

Hard constraints first: the model asked for, the variants allowed, modality, context and output length, cost. Among
the variants that pass: a session's variant, else the preference by size. Last, a busy variant yields to the next.
Every choice and every exclusion has a reason with a stable code; nothing here knows a variant by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.capabilities import Capabilities
    from cluster.config import RoutingPolicy, SizeClass

AUTO = "auto"


@dataclass(frozen=True)
class Reason:
    """Why a variant was chosen or passed over. Codes are stable:

    Chosen: MODEL_REQUESTED, SESSION_PIN, ONLY_CANDIDATE, FAST, BEST, SIZE_CLASS.
    Passed over: MODEL_REQUESTED, NOT_ALLOWED, MODALITY_IMAGE, MODALITY_AUDIO, MODALITY_VIDEO, CONTEXT_TOO_SMALL,
    OUTPUT_LIMIT, COST; and, though it could take the request, SESSION_REPINNED and LOAD.
    """

    code: str
    variant: str
    message: str


@dataclass(frozen=True)
class RouteRequest:
    """What routing needs to know of a request.

    `tokens` is the prompt's length in tokens, media included, for each variant (tokenizers may differ).
    `max_output_tokens` is None when the caller did not say.
    """

    tokens: Mapping[str, int]
    modalities: frozenset[str] = frozenset({"text"})
    max_output_tokens: int | None = None
    thinking: bool = False
    model: str = AUTO
    preference: str = "balanced"
    allowed_variants: tuple[str, ...] = ()
    max_cost: float | None = None
    pinned_variant: str | None = None


@dataclass(frozen=True)
class VariantLoad:
    """How busy a variant is, all its replicas together.

    `ready_in_s` is when the next replica is expected if one were asked for now, None when none was ever measured.
    """

    running_replicas: int = 0
    ongoing: int = 0
    waiting: int = 0
    ready_in_s: float | None = None


@dataclass(frozen=True)
class RouteDecision:
    """The variant, the others that could have taken the request, best first, and why."""

    variant: str
    candidates: tuple[str, ...]
    reasons: tuple[Reason, ...]
    max_output_tokens: int


class NoVariantError(Exception):
    """No variant can take the request; `reasons` has one for each, the most telling first."""

    def __init__(self, model: str, reasons: Sequence[Reason]) -> None:
        telling = [reason for reason in reasons if reason.code != "MODEL_REQUESTED"]
        why = "; ".join(reason.message for reason in telling) or f"there is no variant {model!r}"
        super().__init__(f"no variant can take this request: {why}")
        self.reasons = (*telling, *(reason for reason in reasons if reason not in telling))


def choose_variant(
    request: RouteRequest,
    capabilities: Sequence[Capabilities],
    loads: Mapping[str, VariantLoad],
    policy: RoutingPolicy,
) -> RouteDecision:
    """The variant for `request`. Raises NoVariantError when none can take it.

    `capabilities` is ordered, smallest first. A variant without an entry in `loads` counts as having no replica.
    """
    excluded = {item.name: reason for item in capabilities if (reason := _exclusion(request, item))}
    able = [item for item in capabilities if item.name not in excluded]
    if not able:
        raise NoVariantError(request.model, list(excluded.values()))
    pin = request.pinned_variant if policy.sticky_sessions and request.model == AUTO else None
    size_class = _size_class(request, able, policy)
    wanted = _with_pin_first(_by_preference(request, able, capabilities, size_class), pin)
    candidates, yielded = _idle_first(wanted, loads, policy)
    chosen = candidates[0]
    return RouteDecision(
        variant=chosen.name,
        candidates=tuple(item.name for item in candidates),
        reasons=(
            *_repinned(pin, able, excluded),
            *yielded,
            _choice(request, chosen, len(able), pin, size_class),
            *(excluded.values() if request.model == AUTO else ()),
        ),
        max_output_tokens=output_limit(request, chosen),
    )


def output_limit(request: RouteRequest, variant: Capabilities) -> int:
    """Most output tokens that the request gets from a variant that can take it."""
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    return min(variant.max_output_tokens, variant.context_tokens - request.tokens[variant.name])


def _exclusion(request: RouteRequest, variant: Capabilities) -> Reason | None:
    """The first hard constraint that the variant fails."""
    for check in (_wrong_model, _not_allowed, _lacks_modality, _too_long, _too_much_output, _too_dear):
        failure = check(request, variant)
        if failure is not None:
            code, why = failure
            return Reason(code, variant.name, f"{variant.name} {why}")
    return None


def _wrong_model(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    if request.model in (AUTO, variant.name):
        return None
    return "MODEL_REQUESTED", f"is not the model asked for, {request.model}"


def _not_allowed(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    if not request.allowed_variants or variant.name in request.allowed_variants:
        return None
    return "NOT_ALLOWED", "is not among the allowed variants: " + ", ".join(request.allowed_variants)


def _lacks_modality(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    missing = sorted(request.modalities - variant.modalities)
    if not missing:
        return None
    return f"MODALITY_{missing[0].upper()}", "takes no " + " or ".join(missing)


def _too_long(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    prompt, output = request.tokens[variant.name], request.max_output_tokens or 1
    if prompt + output <= variant.context_tokens:
        return None
    return "CONTEXT_TOO_SMALL", (
        f"has a context of {variant.context_tokens} tokens, too few for a prompt of {prompt} and {output} of output"
    )


def _too_much_output(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    asked = request.max_output_tokens
    if asked is None or asked <= variant.max_output_tokens:
        return None
    return "OUTPUT_LIMIT", f"gives at most {variant.max_output_tokens} output tokens, and {asked} are asked for"


def _too_dear(request: RouteRequest, variant: Capabilities) -> tuple[str, str] | None:
    if request.max_cost is None or variant.cost <= request.max_cost:
        return None
    return "COST", f"costs {variant.cost:g} per 1,000 tokens, over the limit of {request.max_cost:g}"


def _size_class(request: RouteRequest, able: Sequence[Capabilities], policy: RoutingPolicy) -> SizeClass | None:
    """The policy's first row that the request fits. Where tokenizers differ, the longest prompt counts."""
    prompt = max(request.tokens[item.name] for item in able)
    output = request.max_output_tokens or 0
    for row in policy.size_classes:
        fits_prompt = row.max_prompt_tokens is None or prompt <= row.max_prompt_tokens
        fits_output = row.max_output_tokens is None or output <= row.max_output_tokens
        if fits_prompt and fits_output and row.thinking in (None, request.thinking):
            return row
    return None


def _by_preference(
    request: RouteRequest,
    able: Sequence[Capabilities],
    capabilities: Sequence[Capabilities],
    size_class: SizeClass | None,
) -> list[Capabilities]:
    """The able variants, the most wanted first. Size is the place among all variants, as configured."""
    rank = {item.name: place for place, item in enumerate(capabilities)}
    match request.preference:
        case "fast":
            return sorted(able, key=lambda item: rank[item.name])
        case "best":
            return sorted(able, key=lambda item: -rank[item.name])
    # The row's own variants, then those nearest in size to its first one, the larger of two as near.
    row = [name for name in (size_class.prefer if size_class else ()) if name in rank]
    centre = rank[row[0]] if row else 0
    place = {name: index - len(row) for index, name in enumerate(row)}
    return sorted(able, key=lambda item: (place.get(item.name, 0), abs(rank[item.name] - centre), -rank[item.name]))


def _with_pin_first(wanted: Sequence[Capabilities], pin: str | None) -> list[Capabilities]:
    return sorted(wanted, key=lambda item: item.name != pin)


def _idle_first(
    wanted: Sequence[Capabilities], loads: Mapping[str, VariantLoad], policy: RoutingPolicy
) -> tuple[list[Capabilities], list[Reason]]:
    """Puts busy variants after the others, and says so for those that lost their place ahead of the choice."""
    busy = {item.name: why for item in wanted if (why := _busy(loads.get(item.name, VariantLoad()), policy))}
    ordered = sorted(wanted, key=lambda item: item.name in busy)
    ahead = wanted[: wanted.index(ordered[0])]
    return ordered, [Reason("LOAD", item.name, f"{item.name} {busy[item.name]}") for item in ahead]


def _busy(load: VariantLoad, policy: RoutingPolicy) -> str | None:
    if load.running_replicas == 0 and not _is_soon_there(load, policy.cold_wait_s):
        return "has no running replica"
    if load.waiting < policy.overload_queue * max(1, load.running_replicas):
        return None
    return f"has {load.waiting} requests waiting for {load.running_replicas} replicas"


def _is_soon_there(load: VariantLoad, cold_wait_s: float) -> bool:
    """What was never measured is waited for: how else would it ever be known?"""
    return cold_wait_s > 0 and (load.ready_in_s is None or load.ready_in_s <= cold_wait_s)


def _repinned(pin: str | None, able: Sequence[Capabilities], excluded: Mapping[str, Reason]) -> list[Reason]:
    if pin is None or pin in {item.name for item in able}:
        return []
    why = excluded[pin].message if pin in excluded else f"{pin} is not served"
    return [Reason("SESSION_REPINNED", pin, f"the session moves: {why}")]


def _choice(
    request: RouteRequest, chosen: Capabilities, able_count: int, pin: str | None, size_class: SizeClass | None
) -> Reason:
    """Why the chosen variant."""
    name = chosen.name
    if request.model != AUTO:
        return Reason("MODEL_REQUESTED", name, f"the request asks for {name}")
    if name == pin:
        return Reason("SESSION_PIN", name, f"the session stays on {name}")
    if able_count == 1:
        return Reason("ONLY_CANDIDATE", name, f"only {name} can take the request")
    match request.preference:
        case "fast":
            return Reason("FAST", name, "smallest first")
        case "best":
            return Reason("BEST", name, "largest first")
    if size_class is None:
        return Reason("SIZE_CLASS", name, "no size class fits; smallest first")
    return Reason("SIZE_CLASS", name, f"size class {size_class.name}: {', then '.join(size_class.prefer)}")
