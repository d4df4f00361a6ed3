"""One question with its answer, and how several become messages."""

from typing import Any, NamedTuple

from model.pocket.dialogue import Message


class Exchange(NamedTuple):
    """What the user says, and what the model is to say to that."""

    said: str
    answer: str


def messages(*exchanges: Exchange) -> list[Message]:
    """The exchanges in order, in the chat format."""
    return [message for exchange in exchanges for message in _pair(exchange)]


def _pair(exchange: Exchange) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"role": "user", "content": exchange.said}, {"role": "assistant", "content": exchange.answer}
