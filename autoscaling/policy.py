"""How many replicas a variant should have: a pure function from signals, settings and what it decided before.

Up as soon as the need has lasted `up_delay_s`, to the least need of that time; down to the greatest need of the last
`down_delay_s`, with a band on top. So a load that only wavers moves nothing, and one wave is paid for once.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, replace

from autoscaling.forecast import forecast, has_jumped, is_falling, level, mean
from autoscaling.needs import Need, Outlook, floor, lasting_need, passing_need, trouble, work
from autoscaling.settings import PolicySettings
from autoscaling.signals import VariantSignals
from autoscaling.window import Extreme, Peaks, Usual

TREND_S = 120.0
PRESENT_S = 30.0
# Before so long the greatest load seen says little of what may come.
PEAK_KNOWN_S = 3 * 3600.0
# What a steady load has needed once in so long it will need again, so long as it was not more than twice as much.
WAVER_S, WAVER = 900.0, 2.0
SETTLED_S, TROUBLE_S, STRAIN_S = 60.0, 30.0, 3600.0
# Rates are sums of floats; a need of 4.0000000001 is 4.
_EPSILON = 1e-6


@dataclass(frozen=True)
class PolicyState:
    """What the policy remembers between two decisions."""

    started_s: float | None = None
    history: tuple[tuple[float, float], ...] = ()  # (seconds, work) of the last TREND_S, or since the work jumped
    peaks: Peaks = field(default_factory=Peaks)  # of work
    usual: Usual = field(default_factory=Usual)  # work
    asked: tuple[tuple[float, int], ...] = ()  # (when, how many) of the last steps up
    least: Extreme = field(default_factory=Extreme)
    greatest: Extreme = field(default_factory=Extreme)
    crest: Extreme = field(default_factory=Extreme)  # the greatest need of the last WAVER_S
    busiest: Extreme = field(default_factory=Extreme)  # the same of work
    active_s: float | None = None  # when somebody was answered or waited last
    stepped_s: float | None = None
    troubled_s: float | None = None  # since when there has been trouble that nothing explains
    strain: Extreme = field(default_factory=Extreme)


@dataclass(frozen=True)
class Decision:
    """So many replicas from now on. `explanation` is one line; `code` is its reason, that of the greatest need or IDLE.

    `needed` is what would do for that need, whatever delays, steps and bounds make of it.
    """

    replicas: int
    explanation: str
    code: str
    needed: float
    state: PolicyState


def decide(signals: VariantSignals, settings: PolicySettings, target: int, state: PolicyState) -> Decision:
    """`target` is how many replicas the variant is to have now, ready or not. Reports may come at any interval."""
    state = _remember(signals, settings, state)
    outlook = _outlook(signals, state)
    lasting = lasting_need(signals, settings, outlook)
    passing = passing_need(signals, settings, outlook.present, _capacity_s(signals, settings, state))
    need = max(lasting, passing, key=lambda item: item.replicas)
    state = _widen(signals.time_s, need.replicas, lasting.replicas, settings, state)
    state = _learn(signals, settings, need.replicas, outlook.present, state)
    wanted = _wanted(signals, settings, target, state)
    allowed = _step(wanted, target, settings)
    if allowed != target and not _may_step(signals.time_s, settings, target, state):
        allowed = target
    replicas = _bounded(allowed, settings)
    if replicas != target:
        state = replace(state, stepped_s=signals.time_s)
    if replicas > target:
        state = replace(state, asked=(*state.asked[-31:], (signals.time_s, replicas - target)))
    code = "IDLE" if wanted == 0 and replicas == 0 else need.code
    return Decision(replicas, _explain(replicas, target, wanted, need, settings), code, need.replicas, state)


def _remember(signals: VariantSignals, settings: PolicySettings, state: PolicyState) -> PolicyState:
    now = signals.time_s
    recent = tuple(item for item in state.history if item[0] >= now - TREND_S)
    history = (*recent, (now, work(signals, settings)))
    if has_jumped(history):
        history = history[-1:]  # another load, whose trend is not known yet
    return replace(
        state,
        started_s=now if state.started_s is None else state.started_s,
        history=history,
        usual=state.usual.push(now, level(history, PRESENT_S)),
        peaks=state.peaks.push(now, level(history, PRESENT_S)),
        active_s=now if state.active_s is None or not signals.is_idle else state.active_s,
    )


def _outlook(signals: VariantSignals, state: PolicyState) -> Outlook:
    present = level(state.history, PRESENT_S)
    to_come = forecast(state.history, present, signals.cold_start_s or 0.0)
    is_known = signals.time_s - (state.started_s or 0.0) >= PEAK_KNOWN_S
    peak = state.peaks.value if is_known else math.inf
    return Outlook(present, to_come, state.usual.value, peak, state.strain.value if state.strain.entries else 0.0)


def _capacity_s(signals: VariantSignals, settings: PolicySettings, state: PolicyState) -> float:
    """Replica-seconds until a replica asked for now has worked for `backlog_s`. Who was asked last is ready last."""
    cold_s = signals.cold_start_s or 0.0
    span_s = cold_s + settings.backlog_s
    total, left = signals.ready * span_s, signals.starting
    for asked_s, count in reversed(state.asked):
        count = min(left, count)
        left -= count
        total += count * (span_s - max(0.0, asked_s + cold_s - signals.time_s))
    return total + left * settings.backlog_s


def _learn(
    signals: VariantSignals, settings: PolicySettings, need: float, present: float, state: PolicyState
) -> PolicyState:
    """Trouble that lasts though there is what was needed: the settings think too well of a replica. One more then, for
    as much work, during the next STRAIN_S."""
    now = signals.time_s
    is_settled = state.stepped_s is None or now - state.stepped_s >= SETTLED_S
    is_explained = _ceil(need) > signals.ready or signals.starting > 0 or not is_settled or present <= 0
    since_s = None if is_explained or not trouble(signals, settings) else (state.troubled_s or now)
    is_learned = since_s is not None and now - since_s >= TROUBLE_S
    # At most twice what the settings say: replicas that a burst left over teach nothing.
    strain = min((signals.ready + 1) / present, 2 / settings.utilization) if is_learned else 0.0
    return replace(
        state,
        troubled_s=None if is_learned else since_s,
        strain=state.strain.push(now, strain, STRAIN_S, operator.ge),
    )


def _widen(now: float, need: float, lasting: float, settings: PolicySettings, state: PolicyState) -> PolicyState:
    return replace(
        state,
        least=state.least.push(now, need, settings.up_delay_s, operator.le),
        greatest=state.greatest.push(now, lasting, settings.down_delay_s, operator.ge),
        crest=state.crest.push(now, lasting, WAVER_S, operator.ge),
        busiest=state.busiest.push(now, level(state.history, PRESENT_S), WAVER_S, operator.ge),
    )


def _wanted(signals: VariantSignals, settings: PolicySettings, target: int, state: PolicyState) -> int:
    """Before step limits and bounds."""
    assert state.started_s is not None
    if target == 0:
        return 0 if signals.is_idle else max(1, _ceil(state.least.value))
    watched_s = signals.time_s - state.started_s
    up = _ceil(state.least.value) if watched_s >= settings.up_delay_s else target
    if up > target:
        return up
    if watched_s < settings.down_delay_s:
        return target
    least = max(_lately_needed(signals.time_s, state) * (1 + settings.band), floor(signals, settings))
    down = max(_ceil(least), up)
    return min(target, max(down, 0 if _may_be_zero(signals, settings, state) else 1))


def _lately_needed(now: float, state: PolicyState) -> float:
    """What a step down must leave: the need of the down delay, and of a load that only wavers that of WAVER_S, however
    short the delay is."""
    present = mean([value for _, value in state.history])
    was_busier = state.busiest.value > WAVER * present or state.crest.value > WAVER * state.greatest.value
    if was_busier or is_falling(state.usual.since(now - WAVER_S)):
        return state.greatest.value
    return max(state.greatest.value, state.crest.value)


def _may_be_zero(signals: VariantSignals, settings: PolicySettings, state: PolicyState) -> bool:
    assert state.active_s is not None
    return signals.is_idle and signals.time_s - state.active_s >= settings.to_zero_delay_s


def _step(wanted: int, target: int, settings: PolicySettings) -> int:
    """Not further than one step; whole gangs, and one gang is always a step."""
    gang = settings.gang_size
    wanted = _whole_gangs(wanted, gang)
    most = max(target + gang, math.floor(target * settings.max_up_factor) // gang * gang)
    least = min(target - gang, _whole_gangs(_ceil(target * settings.max_down_factor), gang))
    # From zero there is no step to measure: what waits says how many.
    return wanted if target == 0 else max(least, min(most, wanted))


def _may_step(now: float, settings: PolicySettings, target: int, state: PolicyState) -> bool:
    return target == 0 or state.stepped_s is None or now - state.stepped_s >= settings.step_interval_s


def _bounded(replicas: int, settings: PolicySettings) -> int:
    return max(settings.min_replicas, min(settings.max_replicas, replicas))


def _whole_gangs(replicas: int, gang: int) -> int:
    return -(-replicas // gang) * gang


def _ceil(value: float) -> int:
    return math.ceil(value - _EPSILON)


def _explain(replicas: int, target: int, wanted: int, need: Need, settings: PolicySettings) -> str:
    change = f"stays at {target}" if replicas == target else f"{target} -> {replicas}"
    if wanted == 0 and replicas == 0:
        return f"{change} replicas: nobody has asked for {settings.to_zero_delay_s:g} s"
    limit = f"; {wanted} wanted" if wanted != replicas else ""
    return f"{change} replicas{limit}: {need.replicas:.1f} needed for {need.reason}"
