"""Replicas that a variant needs, for each reason there is, from its signals alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autoscaling.settings import PolicySettings
from autoscaling.signals import VariantSignals


@dataclass(frozen=True)
class Need:
    """So many replicas, and why: for people, and as a code from a closed set (LOAD, PEAK, TROUBLE, STREAMS, KV_CACHE,
    WAITING)."""

    replicas: float
    reason: str
    code: str


@dataclass(frozen=True)
class Outlook:
    """Work, in replicas' worth of time: now, when a replica asked for now would be ready, most of the last hour, and
    the day's greatest. `strain` is how many replicas a unit of work has lately been found to need, whatever the
    settings say."""

    present: float
    forecast: float
    usual: float
    peak: float
    strain: float


def work(signals: VariantSignals, settings: PolicySettings) -> float:
    """Replicas' worth of time that the load takes: a replica's second is shared by new prompts and by answers."""
    prefill = signals.prompt_tokens_per_s / settings.prefill_tokens_per_s
    return prefill + signals.answer_tokens_per_s / settings.decode_tokens_per_s


def lasting_need(signals: VariantSignals, settings: PolicySettings, outlook: Outlook) -> Need:
    """For the load as it is and as it will be.

    Room is kept in proportion to the usual load, and none for more than there has been. What a burst adds gets little:
    room for another on top would be started for that alone, and go with it.
    """
    return max(_lasting(signals, settings, outlook), key=lambda need: need.replicas)


def passing_need(signals: VariantSignals, settings: PolicySettings, present: float, capacity_s: float) -> Need:
    """For those who wait already; gone when they have been answered. `present` is the work of those who come.

    If those that are ready cannot do it in `backlog_s`, all that start are needed, and as many more as do in
    `backlog_s` what those leave by then: `capacity_s` is what they can do until that is over.
    """
    waiting = signals.waiting + signals.held
    answers_s = waiting * signals.tokens_per_answer / settings.decode_tokens_per_s
    backlog_s = answers_s + signals.prefill_tokens_waiting / settings.prefill_tokens_per_s
    reason = f"{waiting:.0f} waiting requests, {backlog_s:.1f} replica-seconds of work, within {settings.backlog_s:g} s"
    replicas = present + backlog_s / settings.backlog_s
    if replicas > signals.ready:
        span_s = (signals.cold_start_s or 0.0) + settings.backlog_s
        more = (backlog_s + present * span_s - capacity_s) / settings.backlog_s
        replicas = signals.ready + signals.starting + max(0.0, more)
    return Need(max(replicas, 1.0) if waiting else 0.0, reason, "WAITING")


def trouble(signals: VariantSignals, settings: PolicySettings) -> bool:
    """Callers get their tokens too late."""
    measured = ((signals.ttft_s, settings.ttft_s), (signals.itl_s, settings.itl_s))
    return any(value is not None and value > most for value, most in measured)


def floor(signals: VariantSignals, settings: PolicySettings) -> float:
    """Replicas without which answers that run now would have no place, in the batch or in the KV cache."""
    kv = signals.kv_tokens / signals.kv_capacity_tokens if signals.kv_capacity_tokens else 0.0
    return max(signals.running / settings.sequences, kv)


def _lasting(signals: VariantSignals, settings: PolicySettings, outlook: Outlook) -> Iterator[Need]:
    load = f"{signals.prompt_tokens_per_s:.0f} prompt and {signals.answer_tokens_per_s:.0f} output tokens/s"
    growth = outlook.forecast / outlook.present - 1 if outlook.present else 0.0
    load += f", {growth:+.0%} to come" if growth > 0.005 else ""
    usual = min(outlook.forecast, outlook.usual) / settings.utilization
    needed = max(usual, outlook.forecast / settings.peak_utilization)
    full = max(outlook.forecast, outlook.peak) / settings.peak_utilization
    if needed > full:
        yield Need(full, f"{load}, at {settings.peak_utilization:.0%} for the day's peak", "PEAK")
    elif needed > usual:
        yield Need(needed, f"{load}, at {settings.peak_utilization:.0%} for more than is usual", "LOAD")
    else:
        yield Need(usual, f"{load}, at {settings.utilization:.0%} of a replica's time", "LOAD")
    yield Need(outlook.forecast * outlook.strain, f"{load}, which fewer were too slow for", "TROUBLE")
    streams = f"{signals.running:.0f} streams, {settings.sequences:g} a replica"
    yield Need(signals.running / settings.sequences, streams, "STREAMS")
    if signals.kv_capacity_tokens:
        kv_tokens = signals.kv_tokens + signals.decode_tokens_in_flight
        needed = kv_tokens / (signals.kv_capacity_tokens * settings.kv_use)
        reason = f"{kv_tokens:.0f} tokens of KV cache, {signals.kv_capacity_tokens:.0f} a replica"
        yield Need(needed, reason, "KV_CACHE")
