"""One cluster for all end-to-end tests: the four tiny variants and a taught one on the native engine, and an echo."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster.client import Client
from cluster.sessions.embedded import EmbeddedValkey
from tests.cluster.taught_answers import write_taught_answers
from tests.e2e.up_process import running_up
from tests.ports import free_port

# A shell that runs the tests in the background makes them, and all that they start, deaf to Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CONFIG = """
family: tiny
gateway: {{port: {port}, max_message_mb: 16}}
sessions: {{ttl_s: 600, timeout_s: 2}}
variants:
  e2b: {{max_context_tokens: 4096}}
  e4b: {{max_context_tokens: 4096}}
  26b-a4b: {{}}
  31b: {{}}
  echo: {{checkpoint: "tiny:e2b", engine: echo, cost: 99, echo_delay_ms: 5, max_batch_size: 4, max_queued_requests: 2}}
  taught: {{checkpoint: {taught}, cost: 99, max_context_tokens: 1024}}
"""


@dataclass(frozen=True)
class RunningCluster:
    """What tests need of the cluster."""

    address: str
    valkey: EmbeddedValkey
    output: list[str]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Runs `gemma-cluster up` with a Valkey of the tests' own, so that they can stop it."""
    folder = tmp_path_factory.mktemp("e2e")
    taught = write_taught_answers(folder / "taught")
    config = CONFIG.format(port=free_port(), taught=json.dumps(str(taught)))
    with EmbeddedValkey() as valkey, running_up(folder, config, redis_url=valkey.url) as process:
        yield RunningCluster(process.address, valkey, process.output)


@pytest.fixture
def client(cluster: RunningCluster) -> Iterator[Client]:
    """A client whose calls may take a minute."""
    with Client(cluster.address, timeout_s=60) as client:
        yield client
