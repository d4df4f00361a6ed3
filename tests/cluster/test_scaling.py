"""The policy that Serve runs: found by its path, and every decision a number that Prometheus can read."""

from __future__ import annotations

import pytest
from ray.serve.config import AutoscalingConfig

from autoscaling.policy import Decision, PolicyState
from cluster.metrics import Metric
from cluster.scaling import POLICY, MeteredPolicy

Recorded = list[tuple[str, float, tuple[str, ...]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What goes to Ray's exporter."""
    values: Recorded = []
    monkeypatch.setattr(
        Metric, "record", lambda self, value, *attributes: values.append((self.exported_name, value, attributes))
    )
    return values


def _decision(replicas: int, code: str, needed: float) -> Decision:
    return Decision(replicas, "one line", code, needed, PolicyState())


def test_serve_takes_the_policy_by_its_path() -> None:
    config = AutoscalingConfig(policy={"policy_function": POLICY, "policy_kwargs": {"max_replicas": 2}})
    assert config.policy.get_policy().__name__ == "MeteredPolicy"


def test_each_decision_is_a_number_and_each_change_has_its_reason(recorded: Recorded) -> None:
    policy = MeteredPolicy(max_replicas=8)
    policy.decided("e2b", _decision(2, "LOAD", 1.7), 2)
    assert recorded == [
        ("ray_gemma_cluster_needed_replicas", 1.7, ("e2b",)),
        ("ray_gemma_cluster_target_replicas", 2, ("e2b",)),
    ]
    policy.decided("e2b", _decision(4, "WAITING", 4.0), 2)
    policy.decided("e2b", _decision(0, "IDLE", 0.0), 1)
    changes = [item for item in recorded if item[0] == "ray_gemma_cluster_scalings_total"]
    assert [attributes for _, _, attributes in changes] == [("e2b", "up", "WAITING"), ("e2b", "down", "IDLE")]
