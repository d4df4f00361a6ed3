"""The policy that Ray Serve's controller runs for each deployment, with its decisions as metrics."""

from __future__ import annotations

from autoscaling.policy import Decision
from autoscaling.serve_policy import TokenPolicy
from cluster import metrics

POLICY = "cluster.scaling:MeteredPolicy"


class MeteredPolicy(TokenPolicy):
    """Every decision in numbers, and every change by its reason; the same reasons in words are in the log."""

    def decided(self, deployment: str, decision: Decision, target: int) -> None:
        """Called about once a second."""
        super().decided(deployment, decision, target)
        metrics.REPLICAS_NEEDED.record(decision.needed, deployment)
        metrics.REPLICAS_TARGET.record(decision.replicas, deployment)
        if decision.replicas != target:
            direction = "up" if decision.replicas > target else "down"
            metrics.SCALINGS.record(1, deployment, direction, decision.code)
