"""Checks how the caller wants to sample."""

from __future__ import annotations

from typing import Any

from cluster.codec.violations import Violations
from cluster.request import SamplingOverrides
from protos.gemmacluster.v1.generation_pb2 import GenerationConfig

_FIELD = "generation_config"
_MAX_STOPS = 16
_MAX_STOP_CHARS = 256


def parse_sampling(config: GenerationConfig, violations: Violations) -> SamplingOverrides:
    """The overrides; out-of-range values are added to the violations. Comparisons are false for NaN."""
    sampling = SamplingOverrides(
        max_output_tokens=_optional(config, "max_output_tokens"),
        temperature=_optional(config, "temperature"),
        top_k=_optional(config, "top_k"),
        top_p=_optional(config, "top_p"),
        seed=_optional(config, "seed"),
        stop=tuple(config.stop_sequences),
    )
    _check(sampling.max_output_tokens, lambda n: n >= 1, "max_output_tokens", "at least 1", violations)
    _check(sampling.temperature, lambda t: 0 <= t <= 2, "temperature", "between 0 and 2", violations)
    _check(sampling.top_k, lambda k: k >= 1, "top_k", "at least 1", violations)
    _check(sampling.top_p, lambda p: 0 < p <= 1, "top_p", "above 0 and at most 1", violations)
    _check(sampling.seed, lambda s: s >= 0, "seed", "0 or above", violations)
    _check_stops(sampling.stop, violations)
    return sampling


def _optional(config: GenerationConfig, name: str) -> Any:
    return getattr(config, name) if config.HasField(name) else None


def _check(value: Any, is_good: Any, name: str, rule: str, violations: Violations) -> None:
    if value is not None:
        violations.require(is_good(value), f"{_FIELD}.{name}", f"must be {rule}, not {value:g}")


def _check_stops(stops: tuple[str, ...], violations: Violations) -> None:
    field = f"{_FIELD}.stop_sequences"
    if len(stops) > _MAX_STOPS:
        violations.add(field, f"has {len(stops)} strings; at most {_MAX_STOPS} are taken")
        return
    for i, stop in enumerate(stops):
        rule = f"must have 1 to {_MAX_STOP_CHARS} characters, not {len(stop)}"
        violations.require(1 <= len(stop) <= _MAX_STOP_CHARS, f"{field}[{i}]", rule)
