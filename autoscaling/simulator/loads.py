"""Loads made up: steady, diurnal, bursty, heavy-tailed. The same seed gives the same requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscaling.simulator.trace import Floats, Trace

LOADS = ("steady", "diurnal", "bursty", "heavy-tailed")
_DAY_S = 86_400.0
_KINDS_A_SIDE = 6


def _lengths(median: float, spread: float, most: float) -> Floats:
    """The middles of equally likely parts of a lognormal distribution, in whole tokens."""
    # Quantiles of the normal distribution at 1/12, 3/12, ... 11/12.
    normal = np.array([-1.3830, -0.6745, -0.2104, 0.2104, 0.6745, 1.3830])
    return np.clip(np.round(median * np.exp(spread * normal)), 1, most)


@dataclass(frozen=True)
class Kinds:
    """K kinds of requests and how often each comes."""

    prompt_K: Floats
    output_K: Floats
    share_K: Floats

    @classmethod
    def lognormal(cls, prompt: float, prompt_spread: float, output: float, output_spread: float) -> Kinds:
        """Medians in tokens, and spreads: the standard deviation of the logarithm."""
        prompts, outputs = _lengths(prompt, prompt_spread, 131_072), _lengths(output, output_spread, 8_192)
        share = np.full(_KINDS_A_SIDE**2, 1 / _KINDS_A_SIDE**2)
        return cls(np.repeat(prompts, _KINDS_A_SIDE), np.tile(outputs, _KINDS_A_SIDE), share)


CHAT = Kinds.lognormal(600, 1.0, 200, 0.8)
# Half of them are above 16,000 tokens, and one in six is above 100,000.
DOCUMENTS = Kinds.lognormal(16_000, 1.6, 150, 0.8)


def generate(load: str, seconds: float, requests_per_s: float, seed: int = 0, step_s: float = 1.0) -> Trace:
    """So many requests a second on average (chats, with documents among them where tails are heavy)."""
    rng = np.random.default_rng(seed)
    steps = max(1, round(seconds / step_s))
    rate_T = _RATES[load](steps, step_s, rng)
    rate_T *= requests_per_s * step_s / rate_T.mean()
    if load != "heavy-tailed":
        return _trace(load, step_s, rate_T, np.zeros(steps), rng)
    return _trace(load, step_s, rate_T, _document_share(steps, step_s, rng), rng)


def _trace(load: str, step_s: float, rate_T: Floats, documents_T: Floats, rng: np.random.Generator) -> Trace:
    kinds = (CHAT, DOCUMENTS) if documents_T.any() else (CHAT,)
    shares_T = (1 - documents_T, documents_T)
    means = [rate_T[:, None] * share[:, None] * kind.share_K for kind, share in zip(kinds, shares_T, strict=False)]
    counts = rng.poisson(np.concatenate(means, axis=1)).astype(np.float64)
    prompts = np.concatenate([kind.prompt_K for kind in kinds])
    outputs = np.concatenate([kind.output_K for kind in kinds])
    return Trace(load, step_s, prompts, outputs, counts)


def _steady(steps: int, step_s: float, rng: np.random.Generator) -> Floats:
    return np.ones(steps)


def _diurnal(steps: int, step_s: float, rng: np.random.Generator) -> Floats:
    """A day's wave, or the whole trace's if that is shorter: the peak is 5.7 times the trough."""
    period_s = min(_DAY_S, steps * step_s)
    rate_T: Floats = 1 - 0.7 * np.cos(2 * np.pi * np.arange(steps) * step_s / period_s)
    return rate_T


def _bursty(steps: int, step_s: float, rng: np.random.Generator) -> Floats:
    """A flatter wave, and on it about one burst in half an hour: 2 to 5 times the load for 2 to 12 minutes.

    Of two at once the higher one counts: were they multiplied, the one minute in which three met would decide all.
    """
    times_T = np.ones(steps)
    for start, length, height in _episodes(steps, step_s, rng, every_s=1800, lasting_s=(120, 720)):
        times_T[start : start + length] = np.maximum(times_T[start : start + length], 1 + height)
    rate_T: Floats = times_T * (0.6 + 0.4 * _diurnal(steps, step_s, rng))
    return rate_T


def _heavy(steps: int, step_s: float, rng: np.random.Generator) -> Floats:
    return 0.4 + 0.6 * _diurnal(steps, step_s, rng)


def _document_share(steps: int, step_s: float, rng: np.random.Generator) -> Floats:
    """Three requests in a hundred; while somebody works through a pile, about one in six."""
    share_T = np.full(steps, 0.03)
    for start, length, height in _episodes(steps, step_s, rng, every_s=5400, lasting_s=(600, 3600)):
        share_T[start : start + length] = 0.03 + 0.05 * height
    return share_T


def _episodes(
    steps: int, step_s: float, rng: np.random.Generator, *, every_s: float, lasting_s: tuple[float, float]
) -> list[tuple[int, int, float]]:
    """(first step, steps, height from 1 to 4): as many as come by chance, one at least."""
    count = max(1, rng.poisson(steps * step_s / every_s))
    starts = rng.integers(0, steps, count)
    lengths = rng.uniform(*lasting_s, count) / step_s
    heights = rng.uniform(1, 4, count)
    return [(int(a), math.ceil(b), float(c)) for a, b, c in zip(starts, lengths, heights, strict=True)]


_RATES = {"steady": _steady, "diurnal": _diurnal, "bursty": _bursty, "heavy-tailed": _heavy}
