"""Ray Serve's default policy, as its version 2.60 computes it: ongoing requests over their target, factors, delays.

Written anew from what it does, and held equal to Serve's own code by a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaling.signals import VariantSignals
from autoscaling.simulator.scaler import Scaler

_EPSILON_S = 1e-6  # Serve's own tolerance for elapsed time


@dataclass(frozen=True)
class ServeSettings:
    """Serve's AutoscalingConfig, with its defaults."""

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 2.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0


class ServeScaler(Scaler):
    """One deployment."""

    def __init__(self, settings: ServeSettings, name: str = "Ray Serve") -> None:
        self.name = name
        self._settings = settings
        self._direction = 0  # of the change that is being waited for
        self._since_s = 0.0

    def replicas(self, signals: VariantSignals, mean_ongoing: float, target: int) -> int:
        decided = self._decide(signals.ready, mean_ongoing, target, signals.time_s)
        return max(self._settings.min_replicas, min(self._settings.max_replicas, decided))

    def _decide(self, running: int, ongoing: float, target: int, now_s: float) -> int:
        settings = self._settings
        if running == 0 and ongoing > 0:
            return max(math.ceil(settings.upscaling_factor), target)
        if running == 0:
            # What starts goes on, and what is waited for is waited for on.
            return target if target else self._delayed(0, 0, now_s)
        desired = self._scaled(running * (ongoing / (settings.target_ongoing_requests * running)), running)
        return self._delayed(max(0, desired), target, now_s)

    def _scaled(self, desired: float, running: int) -> int:
        """The way there, times the factor; a step down is never rounded away."""
        settings = self._settings
        factor = settings.upscaling_factor if desired > running else settings.downscaling_factor
        scaled = math.ceil(running + factor * (desired - running))
        return scaled - 1 if math.ceil(desired) < running and scaled == running else scaled

    def _delayed(self, desired: int, target: int, now_s: float) -> int:
        direction = (desired > target) - (desired < target)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        if direction == 0:
            return target
        delay_s = self._settings.upscale_delay_s
        if direction < 0:
            delay_s = self._down_delay_s(target)
            desired = desired if target == 1 else max(1, desired)
        if now_s - self._since_s + _EPSILON_S < delay_s:
            return target
        self._direction = 0
        return desired

    def _down_delay_s(self, target: int) -> float:
        to_zero = self._settings.downscale_to_zero_delay_s
        return to_zero if target == 1 and to_zero is not None else self._settings.downscale_delay_s
