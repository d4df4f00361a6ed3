"""What a variant's replicas and gateways measure, as the policy reads it. Tokens, not requests, are what costs time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReplicaSignals:
    """One replica; a gang of ranks counts as one. Times are means over the last reports, None before there were any."""

    running: float = 0  # requests in the batch
    waiting: float = 0  # requests without a place in it
    prefill_tokens_waiting: float = 0  # prompt tokens taken and not yet computed
    decode_tokens_in_flight: float = 0  # tokens that the running answers are expected to have still before them
    kv_tokens: float = 0
    kv_capacity_tokens: float = 0
    requests_per_s: float = 0  # arriving
    prompt_tokens_per_s: float = 0  # arriving
    output_tokens_per_s: float = 0  # generated
    tokens_per_answer: float = 0  # of answers that ended lately
    ttft_s: float | None = None
    itl_s: float | None = None


_TIMES = ("ttft_s", "itl_s")
_SUMS = tuple(item.name for item in fields(ReplicaSignals) if item.name not in _TIMES)


@dataclass(frozen=True)
class VariantSignals:
    """All replicas of a variant at one moment, and what waits for them in the gateways."""

    time_s: float  # of any clock that only goes forward
    ready: int = 0  # replicas that take requests
    starting: int = 0  # replicas asked for and not ready yet
    running: float = 0
    waiting: float = 0  # in replicas and in gateways
    held: float = 0  # requests that gateways hold for a variant without replicas
    prefill_tokens_waiting: float = 0
    decode_tokens_in_flight: float = 0
    kv_tokens: float = 0
    kv_capacity_tokens: float = 0  # of one replica
    requests_per_s: float = 0
    prompt_tokens_per_s: float = 0
    output_tokens_per_s: float = 0
    tokens_per_answer: float = 0
    ttft_s: float | None = None
    itl_s: float | None = None
    cold_start_s: float | None = None  # measured, from asking for a replica until it is ready

    @property
    def answer_tokens_per_s(self) -> float:
        """Output tokens that those who come will want; replicas that are late make them no fewer."""
        return max(self.output_tokens_per_s, self.requests_per_s * self.tokens_per_answer)

    @property
    def is_idle(self) -> bool:
        """Nobody is answered and nobody waits."""
        return self.running + self.waiting + self.held == 0


def merged(ranks: Sequence[ReplicaSignals]) -> ReplicaSignals:
    """A gang as the one replica that it is: sums over its ranks, means of times weighted by requests."""
    values: dict[str, Any] = {name: float(sum(getattr(rank, name) for rank in ranks)) for name in _SUMS}
    values["tokens_per_answer"] = _answer_length(ranks)
    values |= {name: _mean_time(ranks, name) for name in _TIMES}
    return ReplicaSignals(**values)


def combine(
    time_s: float,
    replicas: Sequence[ReplicaSignals],
    *,
    starting: int = 0,
    queued: float = 0,
    held: float = 0,
    cold_start_s: float | None = None,
) -> VariantSignals:
    """The variant's signals: sums over its ready replicas, means of times weighted by requests.

    `queued` are requests that gateways have for the variant and no replica has taken.
    """

    def total(field: str) -> float:
        return float(sum(getattr(replica, field) for replica in replicas))

    return VariantSignals(
        time_s=time_s,
        ready=len(replicas),
        starting=starting,
        running=total("running"),
        waiting=total("waiting") + queued,
        held=held,
        prefill_tokens_waiting=total("prefill_tokens_waiting"),
        decode_tokens_in_flight=total("decode_tokens_in_flight"),
        kv_tokens=total("kv_tokens"),
        kv_capacity_tokens=_mean([(item.kv_capacity_tokens, float(item.kv_capacity_tokens > 0)) for item in replicas]),
        requests_per_s=total("requests_per_s"),
        prompt_tokens_per_s=total("prompt_tokens_per_s"),
        output_tokens_per_s=total("output_tokens_per_s"),
        tokens_per_answer=_answer_length(replicas),
        ttft_s=_mean_time(replicas, "ttft_s"),
        itl_s=_mean_time(replicas, "itl_s"),
        cold_start_s=cold_start_s,
    )


def _answer_length(replicas: Sequence[ReplicaSignals]) -> float:
    return _mean([(item.tokens_per_answer, item.requests_per_s) for item in replicas])


def _mean_time(replicas: Sequence[ReplicaSignals], field: str) -> float | None:
    """Of the replicas that measured any; each counts by its requests, and as one request at least."""
    known = [(replica, getattr(replica, field)) for replica in replicas if getattr(replica, field) is not None]
    return _mean([(value, max(1.0, replica.running)) for replica, value in known]) if known else None


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in weighted)
    return float(sum(value * weight for value, weight in weighted) / total) if total else 0.0
