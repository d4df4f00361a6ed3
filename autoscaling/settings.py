"""What the policy is told of a variant: bounds, what one replica can do, targets, how fast to move."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any


class SettingsError(ValueError):
    """Settings that nothing can satisfy; the message names the field and says what to change."""


@dataclass(frozen=True)
class PolicySettings:
    """Validated at construction: raises SettingsError. Of a gang, the figures are those of the whole."""

    min_replicas: int = 1
    max_replicas: int = 1
    gang_size: int = 1  # replicas that only start and stop together; bounds are multiples of it
    sequences: float = 16  # that one replica can decode together and hold itl_s
    prefill_tokens_per_s: float = 10_000.0  # of one replica that does nothing else
    decode_tokens_per_s: float = 1_000.0  # of one replica with all its sequences, and nothing else
    ttft_s: float = 2.0  # target: time to the first token
    itl_s: float = 0.1  # target: mean time between the tokens of an answer
    backlog_s: float = 8.0  # in which those that wait should be answered, beside those that come
    utilization: float = 0.5  # share of a replica's time to plan with; the rest is for what may come
    peak_utilization: float = 0.8  # the same for load above the usual, and for the greatest of the last day
    kv_use: float = 0.9  # share of the KV cache to plan with
    band: float = 0.1  # goes down only if that is still enough for so much more load
    up_delay_s: float = 0.0  # the need must last so long
    down_delay_s: float = 300.0
    to_zero_delay_s: float = 900.0  # without any request
    max_up_factor: float = 4.0  # of one step; one gang is always allowed
    max_down_factor: float = 0.5
    step_interval_s: float = 10.0  # between two steps

    def __post_init__(self) -> None:
        for name, is_possible, rule in _RULES:
            value = getattr(self, name)
            if not math.isfinite(value) or not is_possible(value):
                raise SettingsError(f"{name}: {value:g} is impossible; it must be {rule}")
        if self.min_replicas > self.max_replicas:
            raise SettingsError(f"min_replicas: {self.min_replicas} is above max_replicas, {self.max_replicas}")
        for name in ("min_replicas", "max_replicas"):
            if getattr(self, name) % self.gang_size:
                raise SettingsError(f"{name}: {getattr(self, name)} is no multiple of gang_size, {self.gang_size}")
        if self.utilization > self.peak_utilization:
            raise SettingsError(
                f"utilization: {self.utilization:g} is above peak_utilization, {self.peak_utilization:g}; lower it, or "
                "raise that"
            )
        if self.to_zero_delay_s < self.down_delay_s and self.min_replicas == 0:
            raise SettingsError(
                f"to_zero_delay_s: {self.to_zero_delay_s:g} is below down_delay_s, {self.down_delay_s:g}: "
                "the last replica would go before any other; raise it"
            )


_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("min_replicas", lambda value: value >= 0, "0 or more"),
    ("max_replicas", lambda value: value >= 1, "1 or more"),
    ("gang_size", lambda value: value >= 1, "1 or more"),
    ("sequences", lambda value: value > 0, "above 0"),
    ("prefill_tokens_per_s", lambda value: value > 0, "above 0"),
    ("decode_tokens_per_s", lambda value: value > 0, "above 0"),
    ("ttft_s", lambda value: value > 0, "above 0 seconds"),
    ("itl_s", lambda value: value > 0, "above 0 seconds"),
    ("backlog_s", lambda value: value > 0, "above 0 seconds"),
    ("utilization", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    ("peak_utilization", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    ("kv_use", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    ("band", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("up_delay_s", lambda value: value >= 0, "0 seconds or more"),
    ("down_delay_s", lambda value: value >= 0, "0 seconds or more"),
    ("to_zero_delay_s", lambda value: value >= 0, "0 seconds or more"),
    ("max_up_factor", lambda value: value > 1, "above 1"),
    ("max_down_factor", lambda value: 0 <= value < 1, "from 0 to below 1"),
    ("step_interval_s", lambda value: value >= 0, "0 seconds or more"),
)

SETTING_NAMES = tuple(field.name for field in fields(PolicySettings))


def settings_of(values: Mapping[str, float], **bounds: int) -> PolicySettings:
    """Of values by name, as somebody wrote them; `bounds` are those that stand elsewhere.

    Raises SettingsError for what is unknown or impossible.
    """
    own = [name for name in SETTING_NAMES if name not in {*bounds, "gang_size"}]
    for name in values:
        if name not in own:
            close = get_close_matches(name, own, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(own)}"
            raise SettingsError(f"{name}: there is no such setting; {hint}")
    known: dict[str, Any] = {**values, **bounds}
    return PolicySettings(**known)
