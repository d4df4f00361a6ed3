"""The cluster that is hurt: two nodes with a gateway each on one port, two replicas of each of two variants, a Valkey
that keeps all, and a relay on the way to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import grpc
import psutil

from cluster.client import Client
from cluster.errors import ClusterError
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.e2e.some_nodes import SomeNodes, some_nodes
from tests.e2e.up_process import UpProcess, gateway_processes
from tests.ports import free_port
from tests.relay import Relay

ECHO, NATIVE = "echo", "native"
REPLICAS = 4
CONFIG = """
family: tiny
gateway: {{port: {port}, host: 127.0.0.1, replicas: 2}}
sessions: {{redis_url: "{redis}"}}
answers: {{lease_s: 2}}
variants:
  echo: {{checkpoint: "tiny:e2b", engine: echo, echo_delay_ms: 10, cost: 9, replicas: {{min: 2, max: 2, silence_s: 2}}}}
  native:
    checkpoint: "tiny:e2b"
    num_threads: 1
    max_context_tokens: 2048
    replicas: {{min: 2, max: 2, silence_s: 2}}
"""


class World:
    """Made by `world`."""

    def __init__(self, address: str, valkey: EmbeddedValkey, relay: Relay, nodes: SomeNodes) -> None:
        self.address, self.valkey = address, valkey
        self._relay, self._nodes = relay, nodes
        self._port = int(address.rpartition(":")[2])

    def kill_replica(self, variant: str, random: Random) -> None:
        """SIGKILL."""
        self._replica(variant, random).kill()

    def pause_replica(self, variant: str, random: Random, seconds: float) -> None:
        """As if the network to it were cut: nothing is lost, no connection is closed, and nothing comes."""
        _pause([self._replica(variant, random)], seconds)

    def kill_gateway(self, random: Random) -> None:
        """SIGKILL."""
        random.choice(sorted(gateway_processes(self._port), key=lambda process: process.pid)).kill()

    def pause_valkey(self, seconds: float) -> None:
        """Redis is slow."""
        _pause([psutil.Process(self.valkey.pid)], seconds)

    def cut_valkey_off(self, seconds: float) -> None:
        """Nothing passes between it and the gateways; what was on its way arrives late."""
        self._relay.cut(seconds)

    def kill_node(self, random: Random) -> None:
        """SIGKILL for all that runs on a node, gateway and replicas included; another one takes its place."""
        for process in random.choice(self._nodes.others()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._nodes.add()

    def pause_node(self, random: Random, seconds: float) -> None:
        """As if the network to it were cut; not for so long that Ray gives it up."""
        _pause(random.choice(self._nodes.others()), seconds)

    def restart_valkey(self) -> None:
        """Redis is away for a moment, and comes back with what was acknowledged."""
        self.valkey.stop()
        self.valkey.start()

    def is_whole(self) -> bool:
        """Everything that was killed is back, and nothing runs or waits."""
        loads = self.loads()
        is_idle = not any(load.running_requests or load.waiting_requests for load in loads)
        return len(loads) == REPLICAS and is_idle and len(gateway_processes(self._port)) == 2

    def loads(self) -> list[object]:
        """Of all replicas that answer."""
        with grpc.insecure_channel(self.address) as channel:
            return list(AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=5).loads)

    def _replica(self, variant: str, random: Random) -> psutil.Process:
        name = f"ServeReplica:gemma-cluster:{variant}"
        found = [process for process in _children_of_ray(self._port) if name in _command(process)]
        return random.choice(sorted(found, key=lambda process: process.pid))


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Whole and warm."""
    options = {"appendonly": "yes", "appendfsync": "always", "dir": str(folder)}
    path = folder / "config.yaml"
    valkey = EmbeddedValkey(port=free_port(), options=options)
    with valkey, Relay(valkey.port) as relay, some_nodes(2) as nodes:
        redis = valkey.url.replace(f":{valkey.port}", f":{relay.port}")
        path.write_text(CONFIG.format(port=free_port(), redis=redis))
        process = UpProcess(["--address", nodes.address, "--config", str(path)], {})
        try:
            yield World(process.wait_until_ready(), valkey, relay, nodes)
        finally:
            process.stop()


def until(check: object, timeout_s: float) -> bool:
    """Whether `check` came true in time; calls that fail meanwhile are tried again."""
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at:
        with suppress(grpc.RpcError, ClusterError, psutil.Error, IndexError):
            if check():  # type: ignore[operator]
                return True
        time.sleep(0.5)
    return False


def history(address: str, session: str) -> list[tuple[str, str]]:
    """What was said and answered in it."""
    with Client(address, timeout_s=10) as client:
        contents = client.get_session(session).contents
    texts = ["".join(part.text for part in content.parts) for content in contents]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _pause(processes: list[psutil.Process], seconds: float) -> None:
    try:
        _signal(processes, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        _signal(processes, signal.SIGCONT)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _children_of_ray(port: int) -> list[psutil.Process]:
    """Workers of all nodes: those of the raylets that the gateways' raylets are siblings of."""
    gateway = next(iter(gateway_processes(port)))
    raylet = gateway.parent()
    assert raylet is not None
    keeper = raylet.parent()
    assert keeper is not None
    return keeper.children(recursive=True)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
