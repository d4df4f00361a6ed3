"""The thin adapter: our policy as a custom autoscaling policy of Ray Serve, which runs it in its controller.

Serve gives reports of the replicas (`record_autoscaling_stats`, sent every 10 s) and applies what is decided. At zero
replicas it does not ask: any request starts one at once, and our policy goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ray.serve.config import AutoscalingContext

from autoscaling.cold_starts import ColdStarts
from autoscaling.policy import Decision, PolicyState, decide
from autoscaling.settings import PolicySettings
from autoscaling.signals import ReplicaSignals, VariantSignals, combine

logger = logging.getLogger("ray.serve.gemma_cluster.autoscaling")
_KEY = "gemma_cluster"
_FIELDS = tuple(item.name for item in fields(ReplicaSignals))
# Serve asks ten times a second; reports come every ten seconds.
_PERIOD_S = 1.0


@dataclass(frozen=True)
class _Memory:
    """What is kept between two calls, in Serve's policy state."""

    decided_s: float = float("-inf")
    policy: PolicyState = field(default_factory=PolicyState)
    cold_starts: ColdStarts = field(default_factory=ColdStarts)


class TokenPolicy:
    """Serve makes one for each deployment, with the settings as keywords."""

    def __init__(self, **settings: Any) -> None:
        self._settings = PolicySettings(**settings)
        logger.setLevel(logging.INFO)  # Serve's own level is higher, and changes are few

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Replicas to have, and the state for the next call."""
        memory: _Memory = context.policy_state.get(_KEY, _Memory())
        now, target = float(context.current_time or 0.0), context.target_num_replicas
        if now - memory.decided_s < _PERIOD_S:
            return target, {_KEY: memory}
        cold_starts = memory.cold_starts.observe(now, target, context.current_num_replicas)
        signals = replace(read_signals(context), cold_start_s=cold_starts.estimate_s)
        decision = decide(signals, self._settings, target, memory.policy)
        self.decided(context.deployment_name, decision, target)
        return decision.replicas, {_KEY: _Memory(now, decision.state, cold_starts)}

    def decided(self, deployment: str, decision: Decision, target: int) -> None:
        """Logs each change of the target, in one line. Whoever derives from this may do more with each decision."""
        if decision.replicas != target:
            logger.info("%s: %s", deployment, decision.explanation)


def stats(signals: ReplicaSignals) -> dict[str, float]:
    """For `record_autoscaling_stats`: what is not known is left out."""
    values = {name: getattr(signals, name) for name in _FIELDS}
    return {name: float(value) for name, value in values.items() if value is not None}


def read_signals(context: AutoscalingContext) -> VariantSignals:
    """The last report of each running replica, and what waits in gateways. A replica without reports is idle."""
    reports: dict[Any, dict[str, float]] = {replica: {} for replica in context.running_replicas}
    for name, by_replica in (context.raw_metrics or {}).items():
        for replica, series in by_replica.items():
            if name in _FIELDS and replica in reports and series:
                reports[replica][name] = float(series[-1].value)
    queued = float(context.total_queued_requests or 0.0)
    return combine(
        float(context.current_time or 0.0),
        [ReplicaSignals(**report) for report in reports.values()],
        starting=max(0, context.target_num_replicas - context.current_num_replicas),
        queued=queued if context.running_replicas else 0.0,
        held=0.0 if context.running_replicas else queued,
    )
