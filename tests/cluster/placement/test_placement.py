"""What travels beside a request: the router's side stays in the gateway, the replica gets the hashes."""

from __future__ import annotations

import pickle

import pytest
from ray import cloudpickle

from cluster.placement.placement import Placement
from cluster.placement.prefix import unpack
from cluster.placement.tenure import Tenure
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest


def test_the_replica_gets_the_hashes_alone() -> None:
    placement = Placement((1, 2**64 - 1), {"lost"})
    placement.at(Tenure("a"))
    for crossed in (pickle.loads(pickle.dumps(placement)), pickle.loads(cloudpickle.dumps([placement]))[0]):
        assert isinstance(crossed, bytes)
        assert list(unpack(crossed)) == [1, 2**64 - 1]


def test_what_goes_on_elsewhere_has_the_hashes_of_the_prompt() -> None:
    request = ReplicaRequest(request_id="r", prompt_token_ids=range(500))
    first = Placement.of(request.SerializeToString(), ())
    request.progress.token_ids.extend([1, 2, 3])
    assert Placement.of(request.SerializeToString(), ()).hashes == first.hashes != ()


@pytest.mark.parametrize(("ends_at_s", "is_over"), [(float("inf"), False), (0.0, True)])
def test_a_placement_is_over_with_the_grace_of_its_replica(ends_at_s: float, is_over: bool) -> None:
    placement = Placement(())
    assert (placement.replica, placement.is_over) == (None, False)
    placement.at(Tenure("a", ends_at_s))
    assert (placement.replica, placement.is_over) == ("a", is_over)
