"""Our policy in the simulator."""

from __future__ import annotations

from autoscaling.policy import PolicyState, decide
from autoscaling.settings import PolicySettings
from autoscaling.signals import VariantSignals
from autoscaling.simulator.scaler import Scaler


class TokenScaler(Scaler):
    """Follows `autoscaling.policy`."""

    def __init__(self, settings: PolicySettings) -> None:
        self.name = "tokens"
        self._settings = settings
        self._state = PolicyState()

    def replicas(self, signals: VariantSignals, mean_ongoing: float, target: int) -> int:
        decision = decide(signals, self._settings, target, self._state)
        self._state = decision.state
        return decision.replicas
