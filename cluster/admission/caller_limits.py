"""What each caller may have at once and in a minute, counted in Redis so that it holds over all gateways."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from importlib.resources import files
from typing import Any

from cluster import metrics
from cluster.admission.lease import Lease, Limits
from cluster.errors import ClusterError, QuotaExceeded
from cluster.sessions.connection import RedisConnection

logger = logging.getLogger("ray.serve.gemma_cluster.admission")
_SCRIPT = files(__package__).joinpath("stream.lua").read_text(encoding="utf-8")
# Of the way of every limited request; a Redis that takes longer is as good as away.
_TIMEOUT_S = 0.25
_PAUSE_S = 5.0
_UNKNOWN_RETRY_S = 1.0


class CallerLimits:
    """Hands out leases, and renews those of this gateway while it lives.

    While Redis does not answer, requests go through uncounted: limits protect from one caller's excess, and are no
    reason to turn everybody away. Streams that begin meanwhile count as soon as it is back.
    """

    def __init__(self, redis_url: str, lease_s: float) -> None:
        """Connects on first use. A dead gateway's streams are given back after `lease_s`."""
        self._redis = RedisConnection(redis_url, _TIMEOUT_S)
        self._lease_s = lease_s
        self._leases: dict[str, Lease] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._resume_at = 0.0

    async def take(self, caller: str, limits: Limits, tokens: int, stream_s: float | None = None) -> Lease:
        """Counts a stream, and so many tokens, in one round trip. `stream_s` is what a stream takes, if that is known.

        Raises QuotaExceeded when a limit is reached. A prompt above the tokens of a minute starts when all are there.
        """
        lease = Lease(uuid.uuid4().hex, caller, limits, self._end)
        self._leases[lease.lease_id] = lease
        # Not cut off when the call is cancelled: whether Redis has counted the stream must be known to give it back.
        asking = self._spawn(self._ask(lease, tokens))
        try:
            reply = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda _: lease.end())
            raise
        if reply != [b"OK"]:
            raise _refusal(lease, reply, stream_s)
        return lease

    async def run(self) -> None:
        """Keeps this gateway's leases alive for ever, and charges what their streams took meanwhile."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            for lease in list(self._leases.values()):
                if not await self._settle(lease):
                    break

    async def close(self) -> None:
        """Gives back what has ended, and closes the connections."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.close()

    async def _ask(self, lease: Lease, tokens: int) -> list[Any]:
        """Redis's answer; yes, if it has none."""
        async with lease.lock:
            reply = await self._answer(lease, tokens)
            if reply != [b"OK"]:
                del self._leases[lease.lease_id]
            return reply

    async def _answer(self, lease: Lease, tokens: int) -> list[Any]:
        if time.monotonic() >= self._resume_at:
            try:
                return await self._run(lease, self._lease_s, tokens, "start")
            except ClusterError as error:
                self._resume_at = time.monotonic() + _PAUSE_S
                logger.warning("callers' limits are not enforced for %g s: %s", _PAUSE_S, error)
        metrics.UNCOUNTED.record(1)
        return [b"OK"]

    def _end(self, lease: Lease) -> None:
        if time.monotonic() >= self._resume_at:
            self._spawn(self._settle(lease))

    async def _settle(self, lease: Lease) -> bool:
        """Charges what is uncharged, and renews the lease, or ends it. False if Redis does not answer: then it is done
        with the next renewals, unless by then the lease has run out by itself."""
        async with lease.lock:
            if lease.lease_id not in self._leases:
                return True
            ended_at, tokens, lease.uncharged = lease.ended_at, lease.uncharged, 0
            try:
                await self._run(lease, self._lease_s if ended_at is None else 0.0, tokens, "")
            except ClusterError:
                lease.uncharged += tokens
                if ended_at is not None and time.monotonic() > ended_at + self._lease_s:
                    del self._leases[lease.lease_id]
                return False
            if ended_at is not None:
                del self._leases[lease.lease_id]
            return True

    async def _run(self, lease: Lease, lease_s: float, tokens: int, mode: str) -> list[Any]:
        limits = lease.limits
        numbers = (round(lease_s * 1000), tokens, limits.tokens_per_minute, mode, limits.streams)
        arguments: list[Any] = [*lease.keys, lease.lease_id, *numbers]
        return await self._redis.run(lambda client: client.eval(_SCRIPT, 2, *arguments))

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _refusal(lease: Lease, reply: list[Any], stream_s: float | None) -> QuotaExceeded:
    limits = lease.limits
    if reply[0] == b"STREAMS":
        retry_after_s = stream_s / limits.streams if stream_s is not None else _UNKNOWN_RETRY_S
        what = f"{limits.streams} streams at once; end one, or retry when one has ended"
    else:
        retry_after_s = int(reply[1]) / 1000
        what = f"{limits.tokens_per_minute} tokens a minute, prompts and answers together; send less, or retry later"
    why = f"caller {lease.caller} has reached its limit of {what}"
    return QuotaExceeded(why, subject=f"caller:{lease.caller}", retry_after_s=retry_after_s)
