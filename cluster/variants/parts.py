"""Pieces of an answer as the parts of a public content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from google.protobuf.struct_pb2 import Struct

from model.answer import FunctionCall, Piece, Text, Thought, joined
from protos.gemmacluster.v1 import content_pb2
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content, Part


class PartWriter:
    """Writes one answer, in one go or in several. The n-th call's id is the request's with n behind it."""

    def __init__(self, request_id: str, num_calls: int = 0) -> None:
        """`num_calls` of the answer are written already."""
        self._request_id = request_id
        self._num_calls = num_calls

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


def joined_parts(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of a streamed answer as those of a whole one: texts, and thoughts, that go on are one part each."""
    for (kind, is_thought), group in groupby(parts, lambda part: (part.WhichOneof("data"), part.thought)):
        if kind == "text":
            yield Part(text="".join(part.text for part in group), thought=is_thought)
        else:
            yield from group
