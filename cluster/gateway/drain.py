"""How a gateway leaves without dropping a call: by Serve, by SIGTERM, or by AdminService.Drain."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from cluster.config import GatewayConfig
from cluster.gateway.server import GrpcServer

logger = logging.getLogger("ray.serve.gemma_cluster.drain")


class Drain:
    """Health says NOT_SERVING; calls are taken until clients have noticed; then GOAWAY, and running calls may end.

    There is no way back: another gateway takes this one's place. Asked again, it goes on as it was, but for a shorter
    grace.
    """

    def __init__(self, server: GrpcServer, config: GatewayConfig) -> None:
        self._server = server
        self._config = config
        self._notice_ends = math.inf
        self._stopping: asyncio.Task[None] | None = None

    async def run(self, grace_s: float | None = None) -> int:
        """Drains; `grace_s` seconds for running calls, counted from the end of the notice, the configuration's if None.

        Goes on if whoever waits for it is cancelled. Returns how many calls outlasted the grace and were cut off.
        """
        return await asyncio.shield(asyncio.create_task(self._run(grace_s)))

    async def stop(self) -> None:
        """Drains, and then closes the port and all connections."""
        await self.run()
        if self._stopping is not None:
            await self._stopping

    async def _run(self, grace_s: float | None) -> int:
        if self._notice_ends == math.inf:
            logger.info("draining: new calls are taken for another %g s", self._config.drain_notice_s)
            self._notice_ends = time.monotonic() + self._config.drain_notice_s
            await self._server.withdraw()
        await asyncio.sleep(max(0.0, self._notice_ends - time.monotonic()))
        num_cut_off = await self._server.finish(self._config.drain_grace_s if grace_s is None else grace_s)
        if self._stopping is None:
            logger.info("drained; %d calls were cut off", num_cut_off)
            self._stopping = asyncio.create_task(self._server.stop(0))
        return num_cut_off
