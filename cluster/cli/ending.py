"""How a command ends that cannot do what it was asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc

from cluster.client import Client
from cluster.credentials import CredentialsError, environment_credentials
from cluster.errors import ClusterError


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client whose errors end the command with one clear line."""
    try:
        with Client(address, credentials=environment_credentials()) as client:
            yield client
    except CredentialsError as error:
        fail(str(error))
    except ClusterError as error:
        fail(f"{error.code.name}: {error}")
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            fail(f"no gateway answers at {address}; start one with: gemma-cluster up")
        fail(f"{error.code().name}: {error.details()}")


def fail(message: str) -> NoReturn:
    """Ends the command with one line to stderr, and 1."""
    print(f"gemma-cluster: {message}", file=sys.stderr)
    raise SystemExit(1)
