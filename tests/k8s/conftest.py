"""Fixtures of the in-process gateway, for what the manifests say about a real one."""

from __future__ import annotations

from tests.cluster.conftest import gateway_loop, gateway_valkey, make_gateway

__all__ = ["gateway_loop", "gateway_valkey", "make_gateway"]
