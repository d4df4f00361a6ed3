"""Laws of the policy: bounds, gangs, steps, delays, zero, and that a load which only wavers moves nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from autoscaling.needs import floor
from autoscaling.policy import Decision, PolicyState, decide
from autoscaling.settings import PolicySettings, SettingsError, settings_of
from autoscaling.signals import ReplicaSignals, VariantSignals, combine, merged

patiently = given_settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
SETTINGS = PolicySettings(
    min_replicas=1,
    max_replicas=100,
    sequences=32,
    prefill_tokens_per_s=10_000,
    decode_tokens_per_s=1_000,
    utilization=0.8,
    down_delay_s=60,
    to_zero_delay_s=120,
)
amounts = st.floats(0, 200_000)
loads = st.builds(
    VariantSignals,
    time_s=st.just(0.0),
    ready=st.integers(0, 50),
    starting=st.integers(0, 50),
    running=st.floats(0, 2_000),
    waiting=st.floats(0, 2_000),
    held=st.floats(0, 100),
    prefill_tokens_waiting=amounts,
    decode_tokens_in_flight=amounts,
    kv_tokens=amounts,
    kv_capacity_tokens=st.sampled_from([0.0, 20_000.0]),
    requests_per_s=st.floats(0, 1_000),
    prompt_tokens_per_s=amounts,
    output_tokens_per_s=amounts,
    tokens_per_answer=st.floats(0, 2_000),
    ttft_s=st.none() | st.floats(0, 100),
    itl_s=st.none() | st.floats(0, 10),
    cold_start_s=st.none() | st.floats(0, 600),
)
settings_st = st.builds(
    lambda low, more, gang, **others: PolicySettings(low * gang, (low + more) * gang, gang, **others),
    low=st.integers(0, 5),
    more=st.integers(1, 30),
    gang=st.sampled_from([1, 2, 8]),
    sequences=st.floats(1, 64),
    utilization=st.floats(0.2, 0.8),
    up_delay_s=st.sampled_from([0.0, 20.0]),
    down_delay_s=st.sampled_from([0.0, 60.0]),
    max_up_factor=st.sampled_from([1.5, 4.0]),
    max_down_factor=st.sampled_from([0.0, 0.75]),
    step_interval_s=st.sampled_from([0.0, 30.0]),
)


def _run(signals: Iterable[VariantSignals], settings: PolicySettings, target: int) -> list[Decision]:
    """A decision every 10 s, each from the target before it."""
    state, decisions = PolicyState(), []
    for number, item in enumerate(signals):
        decision = decide(replace(item, time_s=10.0 * number), settings, target, state)
        decisions.append(decision)
        target, state = decision.replicas, decision.state
    return decisions


def _targets(signals: Iterable[VariantSignals], settings: PolicySettings, target: int) -> list[int]:
    return [decision.replicas for decision in _run(signals, settings, target)]


def _load(prompt_tokens_per_s: float, **others: float) -> VariantSignals:
    """Something runs, so that the variant is not idle."""
    fields = {"running": 1.0, "ready": 1, "prompt_tokens_per_s": prompt_tokens_per_s, **others}
    return VariantSignals(time_s=0, **fields)  # type: ignore[arg-type]


@patiently
@given(st.lists(loads, max_size=20), settings_st, st.integers(0, 10))
def test_bounds_gangs_and_steps_hold_whatever_is_reported(
    signals: list[VariantSignals], settings: PolicySettings, gangs: int
) -> None:
    gang = settings.gang_size
    before = max(settings.min_replicas, min(settings.max_replicas, gangs * gang))
    for target in _targets(signals, settings, before):
        assert settings.min_replicas <= target <= settings.max_replicas
        assert target % gang == 0
        if before:
            assert target <= max(before + gang, before * settings.max_up_factor)
            assert target >= min(before - gang, before * settings.max_down_factor)
        before = target


@patiently
@given(st.lists(loads, max_size=20), settings_st, st.integers(1, 30))
def test_never_goes_below_what_running_answers_need(
    signals: list[VariantSignals], settings: PolicySettings, target: int
) -> None:
    target = max(settings.min_replicas, min(settings.max_replicas, target * settings.gang_size))
    for item, after in zip(signals, _targets(signals, settings, target), strict=True):
        assert after >= target or after >= math.floor(floor(item, settings))
        target = after


@given_settings(deadline=None, max_examples=15)
@given(
    level=st.floats(1_000, 500_000),
    waves=st.lists(st.floats(-0.045, 0.045), min_size=20, max_size=40),
    target=st.integers(1, 100),
)
def test_a_load_that_only_wavers_moves_one_way_at_most(level: float, waves: list[float], target: int) -> None:
    targets = _targets([_load(level * (1 + wave)) for wave in waves * 2], SETTINGS, target)
    moves = [after - before for before, after in pairwise(targets) if after != before]
    assert len({move > 0 for move in moves}) <= 1
    assert len(set(targets[len(waves) + 20 :])) <= 1


@patiently
@given(signals=loads, factor=st.floats(1, 10))
def test_more_tokens_never_need_fewer_replicas(signals: VariantSignals, factor: float) -> None:
    more = replace(signals, prompt_tokens_per_s=signals.prompt_tokens_per_s * factor)
    assert _targets([more], SETTINGS, 4) >= _targets([signals], SETTINGS, 4)


def test_tokens_count_and_not_requests() -> None:
    chats = _load(30 * 200, requests_per_s=30, tokens_per_answer=10)
    documents = _load(30 * 20_000, requests_per_s=30, tokens_per_answer=10)
    settings = replace(SETTINGS, max_up_factor=1_000)
    assert _targets([chats], settings, 1) == [2]
    assert _targets([documents], settings, 1) == [76]


def test_goes_up_at_once_and_down_after_the_delay() -> None:
    targets = _targets([_load(1_000)] * 8 + [_load(30_000)] * 4 + [_load(1_000)] * 20, SETTINGS, 1)
    assert targets[7:11] == [1, 4, 4, 4]
    down = targets.index(4) + targets[targets.index(4) :].index(2)
    assert 60 <= 10 * (down - 11) <= 100
    assert targets[-1] == 1


def test_room_is_kept_for_what_has_been_and_not_for_more() -> None:
    """Half of the replicas are room; once a peak is known, a fifth is enough in it."""
    calm, peak = [_load(40_000)], [_load(80_000)]
    targets = _targets(calm * 3 + peak * 20 + calm * 1_100 + peak * 20, replace(SETTINGS, utilization=0.5), 8)
    assert targets[2] == 8
    assert max(targets[:23]) == 16
    assert targets[1_100] == math.ceil(8 * (1 + SETTINGS.band))
    assert targets[-1] == 10


@pytest.mark.parametrize("need", [0.9, 1.0, 1.1, 2.0, 4.95])
@pytest.mark.parametrize("down_delay_s", [20, 60])
@pytest.mark.parametrize("requests_per_s", [4, 20])
def test_a_steady_load_near_a_whole_need_never_flaps(need: float, down_delay_s: float, requests_per_s: float) -> None:
    """Requests that come by chance, of lengths that differ: no change is taken back within a quarter of an hour."""
    settings = replace(SETTINGS, utilization=0.5, down_delay_s=down_delay_s)
    for seed in range(3):
        loads = _by_chance(need * 0.5 * 10_000, requests_per_s, 720, seed)
        targets = _targets(loads, settings, math.ceil(need))
        moves = [(at, b > a) for at, (a, b) in enumerate(pairwise(targets)) if a != b]
        assert not [one for one, two in pairwise(moves) if one[1] != two[1] and two[0] - one[0] <= 90]


def _by_chance(prompt_tokens_per_s: float, requests_per_s: float, reports: int, seed: int) -> list[VariantSignals]:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(requests_per_s * 10, reports)
    lengths = [rng.lognormal(-0.32, 0.8, count).sum() for count in counts]  # 1 on average
    return [_load(prompt_tokens_per_s * sum_ / requests_per_s / 10, cold_start_s=60) for sum_ in lengths]


def test_after_a_fall_the_down_delay_alone_counts() -> None:
    loud, calm = _by_chance(80_000, 20, 60, 0), _by_chance(20_000, 20, 60, 1)
    targets = _targets(loud + calm, SETTINGS, 11)
    assert min(targets[:60]) >= 10
    assert targets[60 + 12] <= 4


@pytest.mark.parametrize("reports", [2, 4, 10, 40])
def test_after_a_load_of_any_length_has_gone_the_down_delay_alone_counts(reports: int) -> None:
    targets = _targets([_load(0)] * 7 + [_load(30_000)] * reports + [_load(0)] * 30, SETTINGS, 1)
    assert max(targets) >= 3
    assert targets[7 + reports + 20] == 1


def test_after_streams_that_are_no_work_have_gone_the_down_delay_alone_counts() -> None:
    """As gateways have them: they compute no tokens."""
    busy, idle = VariantSignals(0, running=100), VariantSignals(0)
    targets = _targets([idle] * 3 + [busy] * 40 + [idle] * 12, SETTINGS, 1)
    assert max(targets) == 4
    assert targets[-1] == 1


def test_a_jump_is_no_trend() -> None:
    """Four times the load from one moment on, measured while it came: not more is expected to come."""
    targets = _targets([_load(10_000, cold_start_s=120)] * 12 + [_load(20_000)] + [_load(40_000)] * 20, SETTINGS, 2)
    assert max(targets) == targets[14] == 5


def test_in_a_burst_room_is_kept_for_the_usual_load_only() -> None:
    settings = replace(SETTINGS, utilization=0.25, peak_utilization=0.8)
    targets = _targets([_load(20_000)] * 30 + [_load(120_000)] * 10 + [_load(40_000)] * 20, settings, 8)
    assert targets[29] == 8
    assert max(targets) == 15
    assert targets[-1] < 15


def test_for_those_who_wait_no_more_start_than_they_need_when_that_is_done() -> None:
    """Two replicas' worth more comes than is there. After 60 s there will be 120 s of work, to do in 8 s: 15 more."""
    settings = replace(SETTINGS, backlog_s=8, max_up_factor=100)
    target, state, targets = 4, PolicyState(), []
    for number in range(6):
        waiting = 2 * 10_000 * 10 * number
        busy = _load(60_000, ready=4, starting=target - 4, waiting=10, prefill_tokens_waiting=waiting, cold_start_s=60)
        decision = decide(replace(busy, time_s=10.0 * number), settings, target, state)
        target, state = decision.replicas, decision.state
        targets.append(target)
    assert targets[0] == 4 + 2 + 15
    assert targets == sorted(targets)
    assert targets[-1] <= 30


def test_a_need_shorter_than_the_up_delay_moves_nothing() -> None:
    settings = replace(SETTINGS, up_delay_s=120)
    calm, loud = [_load(1_000)], [_load(60_000)]
    assert set(_targets(calm * 14 + loud * 6 + calm * 14, settings, 1)) == {1}
    assert max(_targets(calm * 14 + loud * 16, settings, 1)) > 1


def test_steps_of_one_direction_keep_their_distance() -> None:
    settings = replace(SETTINGS, step_interval_s=30)
    assert _targets([_load(500_000)] * 7, settings, 1) == [4, 4, 4, 16, 16, 16, 63]


def test_a_variant_nobody_asks_goes_to_zero_and_comes_back_for_one_held_request() -> None:
    settings = replace(SETTINGS, min_replicas=0)
    idle, held = VariantSignals(0, ready=1), VariantSignals(0, held=1)
    targets = _targets([_load(100)] * 3 + [idle] * 20, settings, 1)
    assert targets[3 + 10] == 1
    assert targets[-1] == 0
    decisions = _run([idle] * 20 + [held], settings, 1)
    assert [decision.replicas for decision in decisions[-2:]] == [0, 1]
    assert "1 waiting requests" in decisions[-1].explanation


def test_what_is_held_for_a_variant_at_zero_says_how_many_start() -> None:
    settings = replace(SETTINGS, min_replicas=0, backlog_s=10)
    held = VariantSignals(0, held=40, prefill_tokens_waiting=400_000, tokens_per_answer=100)
    assert _targets([held], settings, 0) == [5]


def test_a_variant_with_a_minimum_stays_when_idle() -> None:
    assert set(_targets([VariantSignals(0, ready=3)] * 50, replace(SETTINGS, min_replicas=2), 3)) == {3, 2}


def test_a_gang_starts_whole() -> None:
    settings = replace(SETTINGS, min_replicas=0, max_replicas=16, gang_size=4)
    assert _targets([_load(50_000)] * 2, settings, 4) == [8, 8]
    assert _targets([VariantSignals(0, held=1)], settings, 0) == [4]


def test_settings_that_think_too_well_of_a_replica_are_learnt_from_without_flapping() -> None:
    """A replica does half of what is said of it: four are needed for this load, and the figures ask for two."""
    target, state, targets = 2, PolicyState(), []
    for number in range(180):
        slow = 0.2 if target < 4 else 0.05
        signals = replace(_load(16_000, ready=target, itl_s=slow), time_s=10.0 * number)
        decision = decide(signals, SETTINGS, target, state)
        target, state = decision.replicas, decision.state
        targets.append(target)
    moves = [after - before for before, after in pairwise(targets) if after != before]
    assert moves == [1, 1]
    assert set(targets[60:]) == {4}


def test_late_tokens_while_a_replica_starts_teach_nothing() -> None:
    slow = _load(1_000, ready=3, starting=1, itl_s=0.5)
    assert max(_targets([slow] * 30, SETTINGS, 4)) == 4


def test_a_rising_load_is_met_ahead_by_the_cold_start() -> None:
    rising = [_load(10_000 + 1_000 * number, cold_start_s=120) for number in range(15)]
    ahead = _targets(rising, replace(SETTINGS, max_up_factor=10), 2)[-1]
    behind = _targets([replace(item, cold_start_s=0) for item in rising], replace(SETTINGS, max_up_factor=10), 2)[-1]
    assert (behind, ahead) == (3, 5)


@patiently
@given(st.lists(loads, min_size=1, max_size=5), settings_st)
def test_every_decision_is_explained_in_one_line(signals: list[VariantSignals], settings: PolicySettings) -> None:
    for decision in _run(signals, settings, settings.max_replicas):
        assert 20 < len(decision.explanation) < 250
        assert "\n" not in decision.explanation
        assert decision.code in {"LOAD", "PEAK", "TROUBLE", "STREAMS", "KV_CACHE", "WAITING", "IDLE"}


def test_the_explanation_names_the_numbers() -> None:
    line = _run([_load(40_000, requests_per_s=5, tokens_per_answer=100)], SETTINGS, 2)[0].explanation
    assert line == ("2 -> 6 replicas: 5.6 needed for 40000 prompt and 500 output tokens/s, at 80% of a replica's time")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"min_replicas": 5, "max_replicas": 4}, "min_replicas: 5 is above max_replicas, 4"),
        ({"max_replicas": 0}, "max_replicas: 0 is impossible; it must be 1 or more"),
        ({"gang_size": 4, "max_replicas": 6}, "max_replicas: 6 is no multiple of gang_size, 4"),
        ({"utilization": 1.5}, "utilization: 1.5 is impossible; it must be above 0 and at most 1"),
        ({"ttft_s": math.nan}, "ttft_s: nan is impossible"),
        ({"min_replicas": 0, "max_replicas": 1, "down_delay_s": 1000}, "the last replica would go before any other"),
    ],
)
def test_settings_that_nothing_can_satisfy_are_refused(change: dict[str, float], said: str) -> None:
    base = {"min_replicas": 0, "max_replicas": 8}
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        PolicySettings(**{**base, **change})  # type: ignore[arg-type]


def test_signals_of_replicas_are_added_and_times_averaged_by_requests() -> None:
    one = ReplicaSignals(running=1, kv_capacity_tokens=100, requests_per_s=1, tokens_per_answer=10, itl_s=0.1)
    two = ReplicaSignals(running=3, kv_capacity_tokens=100, requests_per_s=3, tokens_per_answer=50, itl_s=0.3)
    combined = combine(5.0, [one, two, ReplicaSignals()], queued=2, starting=1)
    assert (combined.ready, combined.starting, combined.running, combined.waiting) == (3, 1, 4, 2)
    assert combined.kv_capacity_tokens == 100  # the one that has not told yet does not count
    assert (combined.tokens_per_answer, combined.answer_tokens_per_s) == (40, 160)
    assert (combined.itl_s, combined.ttft_s) == (pytest.approx(0.25), None)


def test_settings_are_read_by_their_names() -> None:
    assert settings_of({"ttft_s": 1}, max_replicas=3) == PolicySettings(ttft_s=1, max_replicas=3)
    with pytest.raises(SettingsError, match="did you mean decode_tokens_per_s"):
        settings_of({"decode_tokens": 1})
    with pytest.raises(SettingsError, match="max_replicas: there is no such setting"):
        settings_of({"max_replicas": 9}, max_replicas=3)


def test_a_gang_is_one_replica() -> None:
    one = ReplicaSignals(running=1, kv_capacity_tokens=100, requests_per_s=1, tokens_per_answer=10, ttft_s=1.0)
    two = ReplicaSignals(running=3, kv_capacity_tokens=100, requests_per_s=3, tokens_per_answer=50, itl_s=0.2)
    gang = merged([one, two])
    assert (gang.running, gang.kv_capacity_tokens, gang.requests_per_s) == (4, 200, 4)
    assert (gang.tokens_per_answer, gang.ttft_s, gang.itl_s) == (40, 1.0, pytest.approx(0.2))
