"""What one message of a streamed answer adds."""

from __future__ import annotations

from dataclasses import dataclass

from protos.gemmacluster.v1 import content_pb2, generation_pb2


@dataclass(frozen=True)
class Piece:
    """A piece of a streamed answer, and the whole message for what else it holds.

    `text` is for the reader, `thought` is the model's reasoning, `calls` are functions that it wants called. `queue` is
    all that a message has which only tells how the request stands while it waits.
    """

    text: str
    response: generation_pb2.StreamGenerateResponse
    thought: str = ""
    calls: tuple[content_pb2.FunctionCall, ...] = ()

    @property
    def queue(self) -> generation_pb2.QueueStatus | None:
        """None in every piece of the answer itself."""
        return self.response.queue_status if self.response.HasField("queue_status") else None

    @classmethod
    def of(cls, response: generation_pb2.StreamGenerateResponse) -> Piece:
        """What one message of a stream adds."""
        parts = response.content.parts
        text, thought = ("".join(part.text for part in parts if part.thought == wanted) for wanted in (False, True))
        calls = tuple(part.function_call for part in parts if part.HasField("function_call"))
        return cls(text, response, thought, calls)
