"""Errors of raw gRPC calls as errors of our own tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from cluster.errors import ClusterError, error_from_status


class Caught:
    """Holds the error once the block has ended."""

    error: Any = None


@contextmanager
def raises_cluster_error(kind: type[ClusterError]) -> Iterator[Caught]:
    """The block must raise a gRPC error that one of this kind made."""
    caught = Caught()
    with pytest.raises(grpc.RpcError) as raised:
        yield caught
    status = rpc_status.from_call(raised.value)
    assert status is not None, f"no details: {raised.value}"
    caught.error = error_from_status(status)
    assert type(caught.error) is kind
