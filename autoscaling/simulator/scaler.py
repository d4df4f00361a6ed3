"""What the simulator asks of a policy, ours or another."""

from __future__ import annotations

from abc import ABC, abstractmethod

from autoscaling.signals import VariantSignals


class Scaler(ABC):
    """Decides from what is known when reports come; one instance for one simulation."""

    name: str

    @abstractmethod
    def replicas(self, signals: VariantSignals, mean_ongoing: float, target: int) -> int:
        """How many to have. `mean_ongoing` are requests running and waiting, averaged as Ray Serve does."""
