"""How busy vLLM says it is."""

from __future__ import annotations

from typing import Any


class LoadReport:
    """Takes the scheduler's statistics after each step; one for each of vLLM's data-parallel engines.

    Passed to vLLM as a factory of stat loggers, whose interface it has.
    """

    def __init__(self) -> None:
        self._stats: dict[int, Any] = {}

    def __call__(self, vllm_config: Any, engine_index: int = 0) -> LoadReport:
        return self

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, engine_idx: int = 0, **__: Any) -> None:
        """Called by vLLM; without scheduler statistics between steps."""
        if scheduler_stats is not None:
            self._stats[engine_idx] = scheduler_stats

    def log_engine_initialized(self) -> None:
        """Called by vLLM."""

    def log(self) -> None:
        """Called by vLLM."""

    def record_sleep_state(self, *_: Any) -> None:
        """Called by vLLM."""

    @property
    def scheduled(self) -> int:
        """Requests in the batch of the last step."""
        return int(sum(stats.num_running_reqs for stats in self._stats.values()))

    @property
    def waiting(self) -> int:
        """Requests that were not scheduled yet."""
        return int(sum(stats.num_waiting_reqs + stats.num_skipped_waiting_reqs for stats in self._stats.values()))

    @property
    def kv_share(self) -> float:
        """Part of the KV cache in use."""
        return float(sum(stats.kv_cache_usage for stats in self._stats.values())) / max(1, len(self._stats))
