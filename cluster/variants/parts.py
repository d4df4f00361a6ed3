"""Pieces of an answer as the parts of a public content."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.struct_pb2 import Struct

from model.answer import FunctionCall, Piece, Text, Thought, joined
from protos.gemmacluster.v1 import content_pb2
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content, Part


class PartWriter:
    """Writes one answer, in one go or in several. The n-th call's id is the request's with n behind it."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._num_calls = 0

    def content(self, pieces: Sequence[Piece]) -> Content:
        """The next pieces, neighbours of a kind joined."""
        return Content(role=ROLE_MODEL, parts=[self._part(piece) for piece in joined(pieces)])

    def _part(self, piece: Piece) -> Part:
        if isinstance(piece, Text):
            return Part(text=piece.text)
        if isinstance(piece, Thought):
            return Part(text=piece.text, thought=True)
        return Part(function_call=self._call(piece))

    def _call(self, call: FunctionCall) -> content_pb2.FunctionCall:
        self._num_calls += 1
        args = Struct()
        args.update(call.args)
        return content_pb2.FunctionCall(id=f"{self._request_id}-{self._num_calls}", name=call.name, args=args)
