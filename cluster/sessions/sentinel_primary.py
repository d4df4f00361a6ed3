"""The primary that Sentinels name, whichever server that is."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from cluster.redis_url import RedisUrl
from cluster.sessions.sentinels import Sentinels
from cluster.sessions.single_server import SingleServer, connection_options


class SentinelPrimary(SingleServer):
    """A RedisService. Every new connection asks the Sentinels, and idle ones to a former primary are closed then."""

    def __init__(self, url: RedisUrl, timeout_s: float, max_connections: int) -> None:
        """A Sentinel that is silent leaves its share of an operation's `timeout_s` to the others and to the primary."""
        options: dict[str, Any] = {**parse_url(url.plain)}
        options["ssl"] = options.pop("connection_class", None) is SSLConnection
        tls = {name: value for name, value in options.items() if name.startswith("ssl")}
        share_s = timeout_s / (len(url.hosts) + 1)
        self._sentinels = Sentinels(
            url.hosts,
            {
                **connection_options(max_connections),
                **tls,
                "username": url.sentinel_username,
                "password": url.sentinel_password,
                "socket_timeout": share_s,
                "socket_connect_timeout": share_s,
            },
        )
        primary = {name: value for name, value in options.items() if name not in ("host", "port")}
        super().__init__(self._sentinels.master_for(url.service, **primary, **connection_options(max_connections)))

    async def close(self) -> None:
        """Closes the connections to the Sentinels too."""
        await super().close()
        await self._sentinels.aclose()
