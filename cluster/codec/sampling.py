"""Checks how the caller wants to sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.codec.violations import Violations
from cluster.request import SamplingOverrides
from protos.gemmacluster.v1.generation_pb2 import GenerationConfig

_FIELD = "generation_config"
_MAX_STOPS = 16
_MAX_STOP_CHARS = 256
_MAX_BIASES = 1024
_MAX_BIAS = 100
# What a number must be, and the same in words. Comparisons are false for NaN.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_output_tokens": (lambda n: n >= 1, "at least 1"),
    "temperature": (lambda t: 0 <= t <= 2, "between 0 and 2"),
    "top_k": (lambda k: k >= 1, "at least 1"),
    "top_p": (lambda p: 0 < p <= 1, "above 0 and at most 1"),
    "seed": (lambda s: s >= 0, "0 or above"),
    "min_p": (lambda p: 0 <= p <= 1, "between 0 and 1"),
    "repetition_penalty": (lambda r: 0 < r <= 10, "above 0 and at most 10"),
    "presence_penalty": (lambda p: -2 <= p <= 2, "between -2 and 2"),
    "frequency_penalty": (lambda f: -2 <= f <= 2, "between -2 and 2"),
    "logprobs": (lambda n: 0 <= n <= 20, "between 0 and 20"),
}


def parse_sampling(config: GenerationConfig, violations: Violations) -> SamplingOverrides:
    """The overrides; out-of-range values are added to the violations."""
    asked = {name: getattr(config, name) for name in _RULES if config.HasField(name)}
    for name, value in asked.items():
        is_good, rule = _RULES[name]
        violations.require(is_good(value), f"{_FIELD}.{name}", f"must be {rule}, not {value:g}")
    stop, logit_bias = tuple(config.stop_sequences), dict(config.logit_bias)
    _check_stops(stop, violations)
    _check_bias(logit_bias, violations)
    response_format = config.response_format if config.response_format.WhichOneof("format") else None
    return SamplingOverrides(stop=stop, logit_bias=logit_bias, response_format=response_format, **asked)


def _check_stops(stops: tuple[str, ...], violations: Violations) -> None:
    field = f"{_FIELD}.stop_sequences"
    if len(stops) > _MAX_STOPS:
        violations.add(field, f"has {len(stops)} strings; at most {_MAX_STOPS} are taken")
        return
    for i, stop in enumerate(stops):
        rule = f"must have 1 to {_MAX_STOP_CHARS} characters, not {len(stop)}"
        violations.require(1 <= len(stop) <= _MAX_STOP_CHARS, f"{field}[{i}]", rule)


def _check_bias(biases: Mapping[int, float], violations: Violations) -> None:
    field = f"{_FIELD}.logit_bias"
    if len(biases) > _MAX_BIASES:
        violations.add(field, f"has {len(biases)} tokens; at most {_MAX_BIASES} are taken")
        return
    for token_id, bias in sorted(biases.items()):
        violations.require(token_id >= 0, f"{field}[{token_id}]", "is no token id; ids begin at 0")
        is_bias = -_MAX_BIAS <= bias <= _MAX_BIAS
        violations.require(is_bias, f"{field}[{token_id}]", f"must be between -100 and 100, not {bias:g}")
