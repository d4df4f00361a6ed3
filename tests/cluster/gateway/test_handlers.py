"""Stub and Python agree both ways: every RPC of the protos is there, and nothing that the protos lack."""

from __future__ import annotations

import inspect

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.empty_pb2 import Empty
from grpc_status import rpc_status

from cluster.errors import InvalidRequest, NotFound, NotSupported, error_from_status
from cluster.gateway.admin import AdminServicer
from cluster.gateway.generation import GenerationServicer
from cluster.gateway.handlers import _unimplemented
from cluster.gateway.models import ModelServicer
from cluster.gateway.server import ADMIN, GENERATION, MODELS, SERVICES, SESSIONS
from cluster.gateway.sessions import SessionServicer
from protos.gemmacluster.v1 import admin_pb2, content_pb2, generation_pb2, model_pb2, session_pb2
from tests.cluster.gateway.errors_of import raises_cluster_error
from tests.cluster.gateway.local_gateway import LocalGateway

SERVICERS: dict[ServiceDescriptor, type] = {
    GENERATION: GenerationServicer,
    SESSIONS: SessionServicer,
    MODELS: ModelServicer,
    ADMIN: AdminServicer,
}
FILES = (admin_pb2, content_pb2, generation_pb2, model_pb2, session_pb2)
METHODS = [method for service in SERVICES for method in service.methods]


def _call(gateway: LocalGateway, method: MethodDescriptor, payload: bytes) -> list[bytes]:
    with grpc.insecure_channel(gateway.address) as channel:
        path = f"/{method.containing_service.full_name}/{method.name}"
        if method.server_streaming:
            return list(channel.unary_stream(path)(payload, timeout=10))
        return [channel.unary_unary(path)(payload, timeout=10)]


def test_every_service_of_the_protos_is_served() -> None:
    declared = {service.full_name for file in FILES for service in file.DESCRIPTOR.services_by_name.values()}
    assert {service.full_name for service in SERVICES} == declared
    assert set(SERVICERS) == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_servicer_has_the_rpcs_of_its_service_and_no_others(service: ServiceDescriptor) -> None:
    methods = {name for name, _ in inspect.getmembers(SERVICERS[service], inspect.isfunction) if name[0].isupper()}
    declared = {method.name for method in service.methods}
    assert methods == declared


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_streaming_rpc_is_an_async_generator_and_no_other_is(method: MethodDescriptor) -> None:
    assert not method.client_streaming
    kind = inspect.isasyncgenfunction if method.server_streaming else inspect.iscoroutinefunction
    assert kind(getattr(SERVICERS[method.containing_service], method.name))


@pytest.mark.parametrize("method", [method for method in METHODS if method.name != "Drain"], ids=lambda item: item.name)
def test_an_empty_request_is_answered_by_our_own_code(gateway: LocalGateway, method: MethodDescriptor) -> None:
    """gRPC itself says UNIMPLEMENTED for an unknown path, without our details."""
    try:
        answers, ours = _call(gateway, method, b""), None
    except grpc.RpcError as error:
        answers, ours = [], error_from_status(rpc_status.from_call(error))
    assert len(answers) == 1 or isinstance(ours, InvalidRequest | NotFound)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_an_rpc_that_a_servicer_lacks_says_its_name(method: MethodDescriptor) -> None:
    answers = _unimplemented(method)(None, None)
    with pytest.raises(NotSupported, match=method.full_name):
        await (anext(answers) if method.server_streaming else answers)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_that_are_no_message_are_an_invalid_request(gateway: LocalGateway, method: MethodDescriptor) -> None:
    with raises_cluster_error(InvalidRequest) as caught:
        _call(gateway, method, b"\xff\xff\xff\xff")
    assert method.input_type.full_name in str(caught.error)


def test_an_answer_that_is_serialised_already_passes_as_it_is(gateway: LocalGateway) -> None:
    request = generation_pb2.StreamGenerateRequest()
    request.request.contents.add().parts.add(text="hi")
    method = GENERATION.methods_by_name["StreamGenerate"]
    answers = _call(gateway, method, request.SerializeToString())
    assert generation_pb2.StreamGenerateResponse.FromString(b"".join(answers)).usage.output_tokens > 0


def test_a_delete_answers_with_an_empty_message(gateway: LocalGateway) -> None:
    created = session_pb2.CreateSessionResponse.FromString(
        _call(gateway, SESSIONS.methods_by_name["CreateSession"], b"")[0]
    )
    delete = session_pb2.DeleteSessionRequest(session_id=created.session.session_id)
    answers = _call(gateway, SESSIONS.methods_by_name["DeleteSession"], delete.SerializeToString())
    assert Empty.FromString(answers[0]) == Empty()
