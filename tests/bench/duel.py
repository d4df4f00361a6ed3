"""Sides answer the same workloads in turns, so that noise hits all; a side's rate is that of its best round."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.workload import Side, Timed, Workload


@dataclass(frozen=True)
class Rates:
    """Tokens per second: of prompts until all have begun, of answers from then on, of answers over the whole time."""

    prefill: float
    decode: float
    total: float

    def __str__(self) -> str:
        return f"prefill {self.prefill:,.0f}, decode {self.decode:,.0f}, whole {self.total:,.0f} tokens/s"


def duel(
    sides: dict[str, Side], workload_of: Callable[[int], Workload], rounds: int, agreement: float
) -> dict[str, Rates]:
    """Best rates of each side: other processes only ever slow one down. Every round has new prompts; the first only
    warms up.

    `agreement` is the least share of first tokens that must be equal between the first side and any other: nobody may
    be fast by computing something else. Later tokens of a greedy answer part for good at the first near tie.
    """
    seen: dict[str, list[Rates]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        workload = workload_of(number)
        timed = {name: side.answer(workload) for name, side in sides.items()}
        _check(workload, timed, agreement)
        if number:
            for name, result in timed.items():
                seen[name].append(_rates(workload, result))
    return {name: _best(rates) for name, rates in seen.items()}


def line(rates: dict[str, Rates]) -> str:
    """All sides on one line."""
    return "; ".join(f"{name} {side}" for name, side in rates.items())


def _check(workload: Workload, timed: dict[str, Timed], agreement: float) -> None:
    first = next(iter(timed.values()))
    for name, result in timed.items():
        assert [len(answer) for answer in result.answers] == workload.num_tokens, name
        pairs = list(zip(first.answers, result.answers, strict=True))
        share = sum(a[:4] == b[:4] for a, b in pairs) / len(pairs)
        assert share >= agreement, f"{name} computes something else: {share:.0%} of its answers begin alike"


def _rates(workload: Workload, timed: Timed) -> Rates:
    num_prompt = sum(map(len, workload.prompts))
    num_answer = sum(map(len, timed.answers))
    return Rates(
        num_prompt / timed.prefill_s,
        timed.num_decoded / timed.decode_s if timed.decode_s else 0.0,
        num_answer / (timed.prefill_s + timed.decode_s),
    )


def _best(rates: list[Rates]) -> Rates:
    return Rates(*(max(getattr(rate, name) for rate in rates) for name in ("prefill", "decode", "total")))
