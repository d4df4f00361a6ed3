"""Our model of Ray Serve's default policy is held equal to Serve's own code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve import autoscaling_policy
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from autoscaling.signals import VariantSignals
from autoscaling.simulator.serve_default import ServeScaler, ServeSettings

settings_st = st.builds(
    ServeSettings,
    min_replicas=st.integers(0, 2),
    max_replicas=st.integers(2, 30),
    target_ongoing_requests=st.sampled_from([0.5, 2.0, 8.0]),
    upscale_delay_s=st.sampled_from([0.0, 15.0, 30.0]),
    downscale_delay_s=st.sampled_from([0.0, 25.0, 60.0]),
    downscale_to_zero_delay_s=st.sampled_from([None, 0.0, 90.0]),
    upscaling_factor=st.sampled_from([0.3, 1.0, 2.0]),
    downscaling_factor=st.sampled_from([0.3, 1.0]),
)
# Requests, and how many of the replicas wanted are running.
moments = st.lists(st.tuples(st.floats(0, 100), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30)


class _Serve:
    """Serve's own wrapped policy, with the bounds that its state applies."""

    def __init__(self, chosen: ServeSettings) -> None:
        self._config = AutoscalingConfig(**vars(chosen))
        self._policy = autoscaling_policy._apply_autoscaling_config(
            autoscaling_policy.replica_queue_length_autoscaling_policy
        )
        self._state: dict[str, Any] = {}

    def replicas(self, running: int, ongoing: float, target: int) -> int:
        context = AutoscalingContext(
            deployment_id=DeploymentID("d", "a"),
            deployment_name="d",
            app_name="a",
            current_num_replicas=running,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=ongoing,
            total_queued_requests=0.0,
            aggregated_metrics={},
            raw_metrics={},
            capacity_adjusted_min_replicas=self._config.min_replicas,
            capacity_adjusted_max_replicas=self._config.max_replicas,
            policy_state=self._state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=None,
            config=self._config,
        )
        decided, self._state = self._policy(context)
        return max(self._config.min_replicas, min(self._config.max_replicas, decided))


@settings(deadline=None, max_examples=60)
@given(chosen=settings_st, moments=moments, start=st.integers(0, 30))
def test_the_same_decisions(chosen: ServeSettings, moments: list[tuple[float, float]], start: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        now = [0.0]
        patch.setattr(autoscaling_policy.time, "time", lambda: now[0])
        ours, theirs = ServeScaler(chosen), _Serve(chosen)
        target = max(chosen.min_replicas, min(chosen.max_replicas, start))
        for number, (ongoing, share) in enumerate(moments):
            now[0] = 10.0 * number
            running = round(target * share)
            decided = ours.replicas(VariantSignals(now[0], ready=running), ongoing, target)
            assert decided == theirs.replicas(running, ongoing, target)
            target = decided


def test_the_defaults_are_serves() -> None:
    config = AutoscalingConfig()
    assert ServeSettings() == ServeSettings(
        config.min_replicas,
        config.max_replicas,
        config.get_target_ongoing_requests(),
        config.upscale_delay_s,
        config.downscale_delay_s,
        config.downscale_to_zero_delay_s,
        config.get_upscaling_factor(),
        config.get_downscaling_factor(),
    )
