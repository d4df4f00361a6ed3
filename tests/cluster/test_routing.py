"""Routing: a table of examples to read, then laws for all requests."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.capabilities import Capabilities
from cluster.config import RoutingPolicy, SizeClass
from cluster.routing import (
    NoVariantError,
    Reason,
    RouteDecision,
    RouteRequest,
    VariantLoad,
    choose_variant,
)

NAMES = ("e2b", "e4b", "26b-a4b", "31b")
EARS = frozenset({"text", "image", "video", "audio"})
EYES = frozenset({"text", "image", "video"})
POLICY = RoutingPolicy()
IDLE = {name: VariantLoad(running_replicas=1) for name in NAMES}
BUSY = VariantLoad(running_replicas=2, ongoing=80, waiting=64)


def variant(
    name: str, modalities: frozenset[str], context: int, active: float, cost: float, output: int | None = None
) -> Capabilities:
    return Capabilities(
        name=name,
        display_name=name,
        checkpoint=name,
        engine="echo",
        modalities=modalities,
        context_tokens=context,
        max_output_tokens=output or context,
        total_parameters=int(active * 2e9),
        active_parameters=int(active * 1e9),
        cost=cost,
        vocab_size=1024,
    )


FAMILY = [
    variant("e2b", EARS, 8_192, 2.3, cost=2),
    variant("e4b", EARS, 16_384, 4.5, cost=4),
    variant("26b-a4b", EYES, 65_536, 3.8, cost=8),
    variant("31b", EYES, 131_072, 30.7, cost=30, output=4_096),
]


def request(prompt: int = 100, *modalities: str, **options: object) -> RouteRequest:
    tokens = dict.fromkeys(NAMES, prompt)
    return RouteRequest(tokens, frozenset({"text", *modalities}), **options)  # type: ignore[arg-type]


def route(
    asked: RouteRequest, loads: Mapping[str, VariantLoad] = IDLE, policy: RoutingPolicy = POLICY
) -> RouteDecision:
    return choose_variant(asked, FAMILY, loads, policy)


def refusals(asked: RouteRequest) -> dict[str, str]:
    with pytest.raises(NoVariantError) as caught:
        route(asked)
    return {reason.variant: reason.code for reason in caught.value.reasons}


# What is asked -> candidates, the chosen one first; the codes of the reasons.
EXAMPLES = [
    # Balanced, by the size table: first small, medium, large, huge prompts.
    (request(100), "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    (request(513), "e4b 26b-a4b e2b 31b", "SIZE_CLASS"),
    (request(5_000), "26b-a4b 31b e4b e2b", "SIZE_CLASS"),
    (request(40_000), "31b 26b-a4b", "SIZE_CLASS CONTEXT_TOO_SMALL CONTEXT_TOO_SMALL"),
    (request(100_000), "31b", "ONLY_CANDIDATE" + " CONTEXT_TOO_SMALL" * 3),
    # The output asked for, and thinking, count as size too.
    (request(100, max_output_tokens=256), "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    (request(100, max_output_tokens=257), "e4b 26b-a4b e2b 31b", "SIZE_CLASS"),
    (request(100, max_output_tokens=2_000), "26b-a4b 31b e4b e2b", "SIZE_CLASS"),
    (request(100, thinking=True), "26b-a4b 31b e4b e2b", "SIZE_CLASS"),
    # Sound is for those who hear, whatever the size.
    (request(100, "audio"), "e2b e4b", "SIZE_CLASS MODALITY_AUDIO MODALITY_AUDIO"),
    (request(5_000, "audio"), "e4b e2b", "SIZE_CLASS MODALITY_AUDIO MODALITY_AUDIO"),
    (request(9_000, "audio"), "e4b", "ONLY_CANDIDATE CONTEXT_TOO_SMALL MODALITY_AUDIO MODALITY_AUDIO"),
    (request(100, "image", "video"), "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    # The caller's own wishes.
    (request(100, preference="fast"), "e2b e4b 26b-a4b 31b", "FAST"),
    (request(100, preference="best"), "31b 26b-a4b e4b e2b", "BEST"),
    (request(100, "audio", preference="best"), "e4b e2b", "BEST MODALITY_AUDIO MODALITY_AUDIO"),
    (request(100, max_cost=4), "e2b e4b", "SIZE_CLASS COST COST"),
    (request(100, preference="best", max_cost=8), "26b-a4b e4b e2b", "BEST COST"),
    (request(100, allowed_variants=("31b", "26b-a4b")), "26b-a4b 31b", "SIZE_CLASS NOT_ALLOWED NOT_ALLOWED"),
    (request(100, max_output_tokens=5_000, preference="best"), "26b-a4b e4b e2b", "BEST OUTPUT_LIMIT"),
    (request(100, model="31b"), "31b", "MODEL_REQUESTED"),
    (request(100, model="31b", preference="fast"), "31b", "MODEL_REQUESTED"),
    # A session stays where it is while that can take it.
    (request(100, pinned_variant="31b"), "31b e2b e4b 26b-a4b", "SESSION_PIN"),
    (request(9_000, pinned_variant="e2b"), "26b-a4b 31b e4b", "SESSION_REPINNED SIZE_CLASS CONTEXT_TOO_SMALL"),
    (
        request(100, "audio", pinned_variant="31b"),
        "e2b e4b",
        "SESSION_REPINNED SIZE_CLASS MODALITY_AUDIO MODALITY_AUDIO",
    ),
    (request(100, pinned_variant="12b"), "e2b e4b 26b-a4b 31b", "SESSION_REPINNED SIZE_CLASS"),
    (request(100, pinned_variant="e2b", model="e4b"), "e4b", "MODEL_REQUESTED"),
]


@pytest.mark.parametrize(("asked", "candidates", "codes"), EXAMPLES)
def test_examples(asked: RouteRequest, candidates: str, codes: str) -> None:
    decision = route(asked)
    assert " ".join(decision.candidates) == candidates
    assert " ".join(reason.code for reason in decision.reasons) == codes
    assert decision.variant == candidates.split()[0]


# What is asked of idle and busy variants (! busy, 0 no replica) -> the same.
LOAD_EXAMPLES = [
    (request(100), "e2b e4b 26b-a4b 31b", "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    (request(100), "!e2b e4b 26b-a4b 31b", "e4b 26b-a4b 31b e2b", "LOAD SIZE_CLASS"),
    (request(100), "!e2b 0e4b 26b-a4b 31b", "26b-a4b 31b e2b e4b", "LOAD LOAD SIZE_CLASS"),
    (request(100), "e2b !e4b 26b-a4b 31b", "e2b 26b-a4b 31b e4b", "SIZE_CLASS"),
    (request(100), "!e2b !e4b 0:26b-a4b !31b", "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    (request(100), "", "e2b e4b 26b-a4b 31b", "SIZE_CLASS"),
    (request(100, pinned_variant="e4b"), "e2b !e4b 26b-a4b 31b", "e2b 26b-a4b 31b e4b", "LOAD SIZE_CLASS"),
    (request(100, "audio"), "!e2b !e4b 26b-a4b 31b", "e2b e4b", "SIZE_CLASS MODALITY_AUDIO MODALITY_AUDIO"),
    (request(100, model="e2b"), "!e2b e4b 26b-a4b 31b", "e2b", "MODEL_REQUESTED"),
]


@pytest.mark.parametrize(("asked", "state", "candidates", "codes"), LOAD_EXAMPLES)
def test_busy_variants_yield_to_the_next(asked: RouteRequest, state: str, candidates: str, codes: str) -> None:
    loads = {
        word.lstrip("!0:") if word[0] in "!0" else word: BUSY
        if word[0] == "!"
        else VariantLoad(running_replicas=int(word[0] != "0"))
        for word in state.split()
    }
    decision = route(asked, loads)
    assert " ".join(decision.candidates) == candidates
    assert " ".join(reason.code for reason in decision.reasons) == codes


@pytest.mark.parametrize(("waiting", "chosen"), [(0, "e2b"), (63, "e2b"), (64, "e4b"), (65, "e4b")])
def test_a_variant_is_busy_from_the_policys_queue_per_replica_on(waiting: int, chosen: str) -> None:
    loads = {**IDLE, "e2b": VariantLoad(running_replicas=2, waiting=waiting)}
    assert route(request(100), loads).variant == chosen


@pytest.mark.parametrize(
    ("cold_wait_s", "ready_in_s", "waiting", "chosen"),
    [
        (0, 1, 0, "e4b"),
        (0, None, 0, "e4b"),
        (30, 30, 31, "e2b"),
        (30, 31, 0, "e4b"),
        (30, None, 0, "e2b"),
        (30, 1, 32, "e4b"),
    ],
)
def test_a_variant_without_replicas_is_waited_for_as_the_policy_allows(
    cold_wait_s: float, ready_in_s: float | None, waiting: int, chosen: str
) -> None:
    loads = {**IDLE, "e2b": VariantLoad(0, waiting=waiting, ready_in_s=ready_in_s)}
    assert route(request(100), loads, RoutingPolicy(cold_wait_s=cold_wait_s)).variant == chosen


# What none can take -> why each cannot.
REFUSALS = [
    (
        request(200_000),
        "CONTEXT_TOO_SMALL CONTEXT_TOO_SMALL CONTEXT_TOO_SMALL CONTEXT_TOO_SMALL",
    ),
    (request(20_000, "audio"), "CONTEXT_TOO_SMALL CONTEXT_TOO_SMALL MODALITY_AUDIO MODALITY_AUDIO"),
    (request(100, max_cost=1), "COST COST COST COST"),
    (request(100, allowed_variants=("12b",)), "NOT_ALLOWED NOT_ALLOWED NOT_ALLOWED NOT_ALLOWED"),
    (request(100, "audio", model="31b"), "MODEL_REQUESTED MODEL_REQUESTED MODEL_REQUESTED MODALITY_AUDIO"),
    (
        request(100, model="e2b", allowed_variants=("e4b",)),
        "NOT_ALLOWED MODEL_REQUESTED MODEL_REQUESTED MODEL_REQUESTED",
    ),
    (request(100, model="e2b", max_cost=1), "COST MODEL_REQUESTED MODEL_REQUESTED MODEL_REQUESTED"),
    (request(100, model="12b"), "MODEL_REQUESTED MODEL_REQUESTED MODEL_REQUESTED MODEL_REQUESTED"),
    (request(100, "smell"), "MODALITY_SMELL MODALITY_SMELL MODALITY_SMELL MODALITY_SMELL"),
]


@pytest.mark.parametrize(("asked", "codes"), REFUSALS)
def test_a_refusal_says_why_for_each_variant(asked: RouteRequest, codes: str) -> None:
    refused = refusals(asked)
    assert " ".join(refused[name] for name in NAMES) == codes


def test_messages_are_for_people_and_have_the_numbers() -> None:
    with pytest.raises(NoVariantError) as caught:
        route(request(8_000, "audio", model="e2b", max_output_tokens=500))
    assert str(caught.value) == (
        "no variant can take this request: "
        "e2b has a context of 8192 tokens, too few for a prompt of 8000 and 500 of output"
    )
    with pytest.raises(NoVariantError, match="there is no variant '12b'"):
        route(request(model="12b"))
    moved = route(request(100, "audio", pinned_variant="31b"))
    assert moved.reasons == (
        Reason("SESSION_REPINNED", "31b", "the session moves: 31b takes no audio"),
        Reason("SIZE_CLASS", "e2b", "size class small: e2b, then e4b"),
        Reason("MODALITY_AUDIO", "26b-a4b", "26b-a4b takes no audio"),
        Reason("MODALITY_AUDIO", "31b", "31b takes no audio"),
    )
    assert route(request(100), {**IDLE, "e2b": BUSY}).reasons[0] == Reason(
        "LOAD", "e2b", "e2b has 64 requests waiting for 2 replicas"
    )


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        (request(100), 8_092),
        (request(8_000, model="e4b"), 8_384),
        (request(100, preference="best"), 4_096),
        (request(130_000, preference="best"), 1_072),
        (request(100, max_output_tokens=7), 7),
    ],
)
def test_output_is_what_was_asked_for_else_what_is_left(asked: RouteRequest, limit: int) -> None:
    assert route(asked).max_output_tokens == limit


@pytest.mark.parametrize(("prompt", "fits"), [(8_191, True), (8_192, False)])
def test_a_prompt_leaves_room_for_one_token(prompt: int, fits: bool) -> None:
    asked = request(prompt, model="e2b")
    if fits:
        assert route(asked).max_output_tokens == 1
    else:
        assert refusals(asked)["e2b"] == "CONTEXT_TOO_SMALL"


def test_prompt_sizes_count_for_each_variant_on_its_own() -> None:
    tokens = {"e2b": 9_000, "e4b": 100, "26b-a4b": 100, "31b": 100}
    assert route(RouteRequest(tokens)).candidates == ("e4b", "26b-a4b", "31b")
    with pytest.raises(NoVariantError, match="a prompt of 9000"):
        route(RouteRequest(tokens, model="e2b"))


def test_sessions_stick_only_if_the_policy_says_so() -> None:
    free = RoutingPolicy(sticky_sessions=False)
    assert route(request(100, pinned_variant="31b"), policy=free) == route(request(100))


def test_a_policy_may_name_variants_that_are_not_served_and_fit_nothing() -> None:
    strange = RoutingPolicy(size_classes=[SizeClass(name="x", max_prompt_tokens=10, prefer=["12b", "31b", "e4b"])])
    assert route(request(5), policy=strange).candidates == ("31b", "e4b", "26b-a4b", "e2b")
    unfit = route(request(11), policy=strange)
    assert (unfit.variant, unfit.reasons[0].message) == ("e2b", "no size class fits; smallest first")


def test_a_variant_never_heard_of_is_served_by_data_alone() -> None:
    unified = variant("12b", EARS, 262_144, 12, cost=12)
    family = [*FAMILY[:2], unified, *FAMILY[2:]]
    asked = RouteRequest(dict.fromkeys([*NAMES, "12b"], 150_000), frozenset({"text", "audio"}))
    assert choose_variant(asked, family, {}, POLICY).variant == "12b"
    policy = RoutingPolicy(size_classes=[SizeClass(name="all", prefer=["12b"])])
    asked = RouteRequest(dict.fromkeys([*NAMES, "12b"], 10))
    assert choose_variant(asked, family, {}, policy).candidates == ("12b", "26b-a4b", "e4b", "31b", "e2b")


def test_it_imports_nothing_but_itself() -> None:
    heavy = "{'ray', 'redis', 'grpc', 'vllm', 'torch', 'pydantic', 'google.protobuf'}"
    code = f"import sys, cluster.routing; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Laws.

modalities = st.frozensets(st.sampled_from(["text", "image", "audio", "video"]))
names = st.sampled_from(NAMES)
optional_name = st.none() | names


@st.composite
def families(draw: st.DrawFn) -> list[Capabilities]:
    """Any capabilities under the four names."""
    return [
        variant(
            name,
            draw(modalities) | {"text"},
            draw(st.integers(16, 200_000)),
            draw(st.floats(0.1, 50)),
            draw(st.floats(0, 50)),
            draw(st.none() | st.integers(1, 10_000)),
        )
        for name in NAMES
    ]


requests = st.builds(
    RouteRequest,
    tokens=st.fixed_dictionaries({name: st.integers(1, 250_000) for name in NAMES}),
    modalities=modalities,
    max_output_tokens=st.none() | st.integers(1, 20_000),
    thinking=st.booleans(),
    model=st.sampled_from(["auto", "auto", "auto", *NAMES]),
    preference=st.sampled_from(["fast", "balanced", "best"]),
    allowed_variants=st.lists(names, unique=True).map(tuple),
    max_cost=st.none() | st.floats(0, 60),
    pinned_variant=optional_name,
)
all_loads = st.dictionaries(names, st.builds(VariantLoad, st.integers(0, 3), st.integers(0, 200), st.integers(0, 200)))
policies = st.sampled_from([POLICY, RoutingPolicy(sticky_sessions=False, overload_queue=1)])


def decide(
    asked: RouteRequest, family: list[Capabilities], loads: Mapping[str, VariantLoad], policy: RoutingPolicy
) -> RouteDecision | NoVariantError:
    try:
        return choose_variant(asked, family, loads, policy)
    except NoVariantError as error:
        return error


@given(requests, families(), all_loads, policies)
def test_no_candidate_breaks_a_hard_constraint(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad], policy: RoutingPolicy
) -> None:
    decision = decide(asked, family, loads, policy)
    if isinstance(decision, NoVariantError):
        return
    by_name = {item.name: item for item in family}
    for name in decision.candidates:
        can = by_name[name]
        assert asked.modalities <= can.modalities
        assert asked.tokens[name] + (asked.max_output_tokens or 1) <= can.context_tokens
        assert (asked.max_output_tokens or 1) <= can.max_output_tokens
        assert asked.max_cost is None or can.cost <= asked.max_cost
        assert not asked.allowed_variants or name in asked.allowed_variants
    chosen = by_name[decision.variant]
    assert 1 <= decision.max_output_tokens <= chosen.max_output_tokens
    assert asked.tokens[chosen.name] + decision.max_output_tokens <= chosen.context_tokens


@given(requests, families(), all_loads, policies)
def test_every_variant_is_a_candidate_or_has_its_reason(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad], policy: RoutingPolicy
) -> None:
    decision = decide(asked, family, loads, policy)
    if isinstance(decision, NoVariantError):
        assert sorted(reason.variant for reason in decision.reasons) == sorted(NAMES)
        return
    assert decision.candidates[0] == decision.variant
    assert len(set(decision.candidates)) == len(decision.candidates)
    if asked.model == "auto":
        explained = {reason.variant for reason in decision.reasons}
        assert set(NAMES) - set(decision.candidates) <= explained
    assert all(reason.code and reason.variant and reason.message for reason in decision.reasons)


@given(requests, families(), all_loads, policies)
def test_the_same_question_has_the_same_answer(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad], policy: RoutingPolicy
) -> None:
    first, second = (decide(asked, family, loads, policy) for _ in range(2))
    assert str(first) == str(second)


@given(requests, families(), all_loads, names)
def test_an_explicit_model_is_honoured_or_refused(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad], model: str
) -> None:
    explicit = RouteRequest(**{**vars(asked), "model": model})
    decision = decide(explicit, family, loads, POLICY)
    if isinstance(decision, NoVariantError):
        reason = next(reason for reason in decision.reasons if reason.variant == model)
        assert reason.code != "MODEL_REQUESTED"
        assert reason.message in str(decision)
    else:
        assert decision.candidates == (decision.variant,) == (model,)
        assert [reason.code for reason in decision.reasons] == ["MODEL_REQUESTED"]


@given(requests, families(), all_loads, st.permutations(range(4)))
def test_order_changes_no_hard_exclusion(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad], order: list[int]
) -> None:
    decisions = [decide(asked, some, loads, POLICY) for some in (family, [family[place] for place in order])]
    if isinstance(decisions[0], NoVariantError) or isinstance(decisions[1], NoVariantError):
        assert {type(decision) for decision in decisions} == {NoVariantError}
        assert set(decisions[0].reasons) == set(decisions[1].reasons)
    else:
        assert set(decisions[0].candidates) == set(decisions[1].candidates)


@given(requests, families())
def test_best_is_never_smaller_than_balanced_nor_balanced_than_fast(
    asked: RouteRequest, family: list[Capabilities]
) -> None:
    ranks = []
    for preference in ("fast", "balanced", "best"):
        wish = RouteRequest(**{**vars(asked), "preference": preference, "pinned_variant": None})
        decision = decide(wish, family, IDLE, POLICY)
        if isinstance(decision, NoVariantError):
            return
        ranks.append(NAMES.index(decision.variant))
    assert ranks == sorted(ranks)


@given(requests, families(), all_loads)
def test_load_only_reorders_candidates_and_never_prefers_a_busy_one(
    asked: RouteRequest, family: list[Capabilities], loads: dict[str, VariantLoad]
) -> None:
    quiet, loaded = (decide(asked, family, some, POLICY) for some in (IDLE, loads))
    if isinstance(quiet, NoVariantError) or isinstance(loaded, NoVariantError):
        assert str(quiet) == str(loaded)
        return
    assert set(quiet.candidates) == set(loaded.candidates)
    free = [
        name
        for name in quiet.candidates
        if name in loads
        and loads[name].running_replicas > 0
        and loads[name].waiting < POLICY.overload_queue * loads[name].running_replicas
    ]
    assert loaded.variant == (free[0] if free else quiet.variant)


@given(requests, families(), names)
def test_a_pin_holds_exactly_when_it_can_take_the_request(
    asked: RouteRequest, family: list[Capabilities], pin: str
) -> None:
    pinned = RouteRequest(**{**vars(asked), "model": "auto", "pinned_variant": pin})
    decision = decide(pinned, family, IDLE, POLICY)
    if isinstance(decision, NoVariantError):
        return
    assert (decision.variant == pin) == (pin in decision.candidates)
    assert ("SESSION_REPINNED" in {reason.code for reason in decision.reasons}) == (pin not in decision.candidates)
