"""Registers a servicer from its proto descriptor, with one edge around every RPC.

Unlike the generated `add_…_to_server`, this lets a servicer answer with bytes that are serialised already, and gives
each RPC the same treatment of errors, limits and cancellation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cluster.errors import InvalidRequest, NotSupported
from cluster.gateway.edge import Edge
from cluster.gateway.request_record import recorded

Context = grpc.aio.ServicerContext[Any, Any]
Parse = Callable[[bytes], Message]
Record = Callable[[Context], AbstractContextManager[object]]
Unary = Callable[[Any, Context], Awaitable[Message | bytes]]
Stream = Callable[[Any, Context], AsyncGenerator[Message | bytes, None]]


def service_handler(service: ServiceDescriptor, servicer: object, edge: Edge) -> grpc.GenericRpcHandler[Any, Any]:
    """Handlers for every RPC of the service; those the servicer lacks answer UNIMPLEMENTED."""
    handlers = {method.name: _method_handler(method, servicer, edge) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _method_handler(method: MethodDescriptor, servicer: object, edge: Edge) -> grpc.RpcMethodHandler[Any, Any]:
    implementation = getattr(servicer, method.name, None) or _unimplemented(method)
    parse = partial(_parse, method)
    record = partial(recorded, method.name)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _stream(implementation, parse, edge, record), response_serializer=_serialize
        )
    return grpc.unary_unary_rpc_method_handler(
        _unary(implementation, parse, edge, record), response_serializer=_serialize
    )


def _parse(method: MethodDescriptor, payload: bytes) -> Message:
    """Done inside the edge: gRPC would answer UNKNOWN with a traceback's text for bytes that are no message."""
    try:
        return GetMessageClass(method.input_type).FromString(payload)
    except DecodeError as error:
        raise InvalidRequest.of("request", f"these bytes are no {method.input_type.full_name}") from error


def _serialize(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


def _unary(
    method: Unary, parse: Parse, edge: Edge, record: Record
) -> Callable[[bytes, Context], Awaitable[Message | bytes]]:
    async def handle(payload: bytes, context: Context) -> Message | bytes:
        with record(context):
            async with edge.guard(context):
                return await method(parse(payload), context)
        raise AssertionError("the edge aborts the RPC instead of swallowing an error")

    return handle


def _stream(method: Stream, parse: Parse, edge: Edge, record: Record) -> Callable[[bytes, Context], Awaitable[None]]:
    """A coroutine, not a generator: when the RPC is cancelled, gRPC cancels it wherever it waits, so that the
    servicer's generator is closed at once. A generator suspended at its yield would never hear of it."""

    async def handle(payload: bytes, context: Context) -> None:
        with record(context):
            async with edge.guard(context), aclosing(method(parse(payload), context)) as responses:
                async for response in responses:
                    await context.write(response)

    return handle


def _unimplemented(method: MethodDescriptor) -> Callable[..., Any]:
    message = f"{method.full_name} is not in this release"

    async def unary(request: Any, context: Context) -> Message | bytes:
        raise NotSupported(message)

    async def stream(request: Any, context: Context) -> AsyncGenerator[Message | bytes, None]:
        raise NotSupported(message)
        yield b""

    return stream if method.server_streaming else unary
