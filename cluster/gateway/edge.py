"""The edge of the gateway: every error that leaves it passes here and becomes a precise gRPC status."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status

from cluster.errors import ClusterError, Overloaded, Unavailable
from cluster.gateway.request_record import current_record

logger = logging.getLogger("ray.serve.gemma_cluster.gateway")


class Edge:
    """Counts the requests in flight, refuses what is too many, and maps errors to statuses."""

    def __init__(self, max_concurrent_requests: int) -> None:
        self._limit = max_concurrent_requests
        self._in_flight = 0
        self._is_draining = False

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._in_flight

    def drain(self) -> None:
        """Refuses new requests from now on."""
        self._is_draining = True

    @asynccontextmanager
    async def guard(self, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncGenerator[None, None]:
        """Around one RPC. An error inside aborts the RPC with its status; nobody sees a traceback."""
        self._in_flight += 1
        try:
            self._admit()
            yield
        except ClusterError as error:
            await _abort(context, error)
        except (grpc.aio.AbortError, GeneratorExit):
            raise
        except Exception:
            logger.exception("unexpected error")
            await _abort(context, ClusterError("internal error; the gateway's log has the details"))
        finally:
            self._in_flight -= 1

    def _admit(self) -> None:
        if self._is_draining:
            raise Unavailable("this gateway is shutting down; retry reaches another")
        if self._in_flight > self._limit:
            raise Overloaded(f"this gateway answers {self._limit} requests already")


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ClusterError) -> None:
    current_record().failed(error)
    await context.abort_with_status(rpc_status.to_status(error.to_status()))  # type: ignore[attr-defined]
