"""Writes what a gateway's running answers have new: one round trip at a time for all of them together."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cluster.answers.log import AnswerLog
from cluster.answers.record import AnswerKey, KeptAnswer
from cluster.answers.store import AnswerStore
from cluster.config import AnswersConfig
from cluster.errors import ClusterError

_PAUSE_S = 0.05
_RENEWALS_PER_LEASE = 3


class Keeper:
    """Also renews the leases of answers that have nothing to say."""

    def __init__(self, store: AnswerStore, config: AnswersConfig, patience_s: float) -> None:
        """After `patience_s` without Redis, it gives up on the answers that wait for it."""
        self._store = store
        self._max_bytes = config.max_answer_mb * 1024 * 1024
        self._renew_after_s = config.lease_s / _RENEWALS_PER_LEASE
        self._patience_s = patience_s
        self._logs: set[AnswerLog] = set()
        self._wake = asyncio.Event()
        self._renewed_at = self._failing_since = 0.0

    def open(self, key: AnswerKey, owner: str, begun: KeptAnswer | None = None) -> AnswerLog:
        """A log for an answer that `owner` has claimed or taken over."""
        log = AnswerLog(key, owner, self._max_bytes, self._wake.set, begun)
        self._logs.add(log)
        return log

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._renew_after_s):
                    await self._wake.wait()
            self._wake.clear()
            await self._write()

    async def flush(self) -> None:
        """Writes what is there, once."""
        await self._write()

    async def _write(self) -> None:
        """What is new, and now and then everything."""
        now = asyncio.get_running_loop().time()
        is_renewal = now - self._renewed_at >= self._renew_after_s
        logs = [log for log in self._logs if is_renewal or log.has_news]
        if not logs:
            return
        batches = [log.batch() for log in logs]
        try:
            replies = await self._store.write(batches)
        except ClusterError:
            await self._failed(logs, now)
            return
        self._failing_since = 0.0
        self._renewed_at = now if is_renewal else self._renewed_at
        for log, batch, reply in zip(logs, batches, replies, strict=True):
            log.written(batch, reply)
        self._logs = {log for log in self._logs if not log.is_closed}

    async def _failed(self, logs: list[AnswerLog], began: float) -> None:
        self._failing_since = self._failing_since or began
        if asyncio.get_running_loop().time() - self._failing_since >= self._patience_s:
            for log in logs:
                log.give_up()
            self._logs.difference_update(logs)
        else:
            self._wake.set()
            await asyncio.sleep(_PAUSE_S)
