"""ModelService and AdminService over real gRPC: what each variant is, and how busy."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from cluster.client import Client
from cluster.engines.base import EngineOutput
from cluster.errors import NotFound
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from protos.gemmacluster.v1.content_pb2 import MODALITY_AUDIO, MODALITY_IMAGE, MODALITY_TEXT, MODALITY_VIDEO
from protos.gemmacluster.v1.model_pb2 import GetModelRequest
from protos.gemmacluster.v1.model_pb2_grpc import ModelServiceStub
from tests.cluster.gateway.errors_of import raises_cluster_error
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import LARGE, SMALL, LocalGateway


@pytest.fixture
def channel(gateway: LocalGateway) -> Iterator[grpc.Channel]:
    """A channel to the shared gateway."""
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


def test_variants_are_listed_smallest_first(client: Client) -> None:
    assert [model.name for model in client.models()] == [SMALL, LARGE]


def test_a_model_is_what_its_checkpoint_says(client: Client, gateway: LocalGateway) -> None:
    small, large = client.models()
    assert list(small.input_modalities) == [MODALITY_TEXT, MODALITY_IMAGE, MODALITY_AUDIO, MODALITY_VIDEO]
    assert list(large.input_modalities) == [MODALITY_TEXT, MODALITY_IMAGE, MODALITY_VIDEO]
    assert (small.context_tokens, small.engine, small.checkpoint) == (4096, "echo", "tiny:e2b")
    assert small.total_parameters == gateway.variants[SMALL].capabilities.total_parameters > small.active_parameters


def test_a_model_shows_its_replicas(client: Client) -> None:
    replicas = client.models()[0].replicas
    assert (replicas.running, replicas.target, replicas.min, replicas.max) == (1, 1, 1, 1)


def test_one_model_is_the_same_alone(client: Client, channel: grpc.Channel) -> None:
    assert ModelServiceStub(channel).GetModel(GetModelRequest(name=LARGE)).model == client.models()[1]


def test_a_model_that_is_not_served_is_not_found_and_the_others_are_named(channel: grpc.Channel) -> None:
    with raises_cluster_error(NotFound) as caught:
        ModelServiceStub(channel).GetModel(GetModelRequest(name="gemma-9000"))
    assert caught.error.resource_name == "gemma-9000"
    assert SMALL in str(caught.error)


@pytest.mark.parametrize(("variant", "listed"), [("", [SMALL, LARGE]), (LARGE, [LARGE])])
def test_loads_are_of_the_variant_asked_for_or_of_all(channel: grpc.Channel, variant: str, listed: list[str]) -> None:
    loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(variant=variant)).loads
    assert [load.variant for load in loads] == listed
    assert all(load.replica_id for load in loads)


def test_a_running_request_shows_in_the_loads(client: Client, gateway: LocalGateway, channel: grpc.Channel) -> None:
    async def after_the_first(at: int, output: EngineOutput) -> None:
        if at:
            await never(at, output)

    gateway.engine().hook = after_the_first
    stream = client.stream("one two three", model=SMALL)
    next(stream)
    loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(variant=SMALL)).loads
    stream.close()
    assert [load.running_requests for load in loads] == [1]


def test_loads_of_an_unknown_variant_are_not_found(channel: grpc.Channel) -> None:
    with raises_cluster_error(NotFound):
        AdminServiceStub(channel).GetLoads(GetLoadsRequest(variant="gemma-9000"))
