"""The adapter through Serve's own wrapper and contexts, without a cluster."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

from autoscaling.signals import ReplicaSignals

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Ray's own imports
    from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
    from ray.serve.autoscaling_policy import _apply_autoscaling_config
    from ray.serve.config import AutoscalingConfig, AutoscalingContext

    from autoscaling.serve_policy import TokenPolicy, read_signals, stats

DEPLOYMENT = DeploymentID("e2b", "app")
REPLICAS = [ReplicaID(name, DEPLOYMENT) for name in ("one", "two", "new")]
SETTINGS: dict[str, Any] = {
    "min_replicas": 0,
    "max_replicas": 8,
    "sequences": 8,
    "prefill_tokens_per_s": 1_000,
    "decode_tokens_per_s": 100,
    "utilization": 0.8,
    "down_delay_s": 20,
    "to_zero_delay_s": 40,
    "step_interval_s": 0,
}
CONFIG = AutoscalingConfig(min_replicas=0, max_replicas=8, upscale_delay_s=0, downscale_delay_s=0)


def _context(now: float, reports: list[ReplicaSignals], running: int, target: int, **others: Any) -> AutoscalingContext:
    raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    for replica, report in zip(REPLICAS, reports, strict=False):
        for name, value in stats(report).items():
            raw.setdefault(name, {})[replica] = [TimeStampedValue(now - 1, -1.0), TimeStampedValue(now, value)]
    fields: dict[str, Any] = {
        "deployment_id": DEPLOYMENT,
        "deployment_name": "e2b",
        "app_name": "app",
        "current_num_replicas": running,
        "target_num_replicas": target,
        "running_replicas": REPLICAS[:running],
        "total_num_requests": sum(report.running for report in reports),
        "total_queued_requests": 0.0,
        "aggregated_metrics": {},
        "raw_metrics": lambda: raw,
        "capacity_adjusted_min_replicas": 0,
        "capacity_adjusted_max_replicas": 8,
        "policy_state": {},
        "last_scale_up_time": None,
        "last_scale_down_time": None,
        "current_time": now,
        "config": CONFIG,
    }
    return AutoscalingContext(**{**fields, **others})


def test_signals_are_the_last_reports_of_running_replicas() -> None:
    reports = [ReplicaSignals(running=2, prompt_tokens_per_s=500, kv_capacity_tokens=90, itl_s=0.2), ReplicaSignals()]
    signals = read_signals(_context(50.0, reports, running=3, target=4, total_queued_requests=5.0))
    assert (signals.time_s, signals.ready, signals.starting) == (50.0, 3, 1)
    assert (signals.running, signals.waiting, signals.held) == (2, 5, 0)
    assert (signals.prompt_tokens_per_s, signals.itl_s, signals.ttft_s) == (500, 0.2, None)
    assert signals.kv_capacity_tokens == 90


def test_through_serves_wrapper_it_goes_up_and_down_by_its_own_delays() -> None:
    policy = _apply_autoscaling_config(TokenPolicy(**SETTINGS))
    state: dict[str, Any] = {}
    target, seen = 1, []
    for second in range(0, 200, 2):
        busy = ReplicaSignals(running=4, prompt_tokens_per_s=1_200 if second < 20 else 0)
        report = busy if second < 90 else ReplicaSignals()
        running = min(target, 3)
        target, state = policy(_context(float(second), [report], running, target, policy_state=state))
        seen.append(target)
    assert seen[0] == 2
    assert (20 + 20) // 2 <= seen.index(1) <= 90 // 2
    assert seen[-1] == 0


def test_between_two_decisions_the_target_stays() -> None:
    policy = TokenPolicy(**SETTINGS)
    busy = [ReplicaSignals(running=1, prompt_tokens_per_s=4_000)]
    first, state = policy(_context(10.0, [], running=1, target=1))
    assert policy(_context(10.5, busy, running=1, target=first, policy_state=state))[0] == 1
    assert policy(_context(11.5, busy, running=1, target=first, policy_state=state))[0] == 4


def test_each_change_is_logged_in_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("ray.serve.gemma_cluster.autoscaling")
    # Whether Ray's loggers above it propagate depends on what ran before.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    busy = [ReplicaSignals(running=1, prompt_tokens_per_s=4_000)]
    TokenPolicy(**SETTINGS)(_context(10.0, busy, running=1, target=1))
    assert caplog.messages == [
        "e2b: 1 -> 4 replicas; 5 wanted: 5.0 needed for 4000 prompt and 0 output tokens/s, at 80% of a replica's time"
    ]


def test_a_cold_start_is_measured() -> None:
    policy = TokenPolicy(**SETTINGS)
    state: dict[str, Any] = {}
    for now, running, target in ((0.0, 1, 1), (10.0, 1, 2), (40.0, 2, 2)):
        _, state = policy(_context(now, [], running, target, policy_state=state))
    assert state["gemma_cluster"].cold_starts.estimate_s == 30


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="min_replicas: 9 is above max_replicas, 8"):
        TokenPolicy(**{**SETTINGS, "min_replicas": 9})
