"""The Python client: needs neither Ray nor torch.

with Client("127.0.0.1:50051") as client:
    for piece in client.stream("Why is the sky blue?"):
        print(piece.text, end="")
"""

from cluster.client.client import DEFAULT_ADDRESS, Client
from cluster.client.content import function, function_results, media_part, text_content
from cluster.client.piece import Piece
from cluster.client.request_builder import request

__all__ = [
    "DEFAULT_ADDRESS",
    "Client",
    "Piece",
    "function",
    "function_results",
    "media_part",
    "request",
    "text_content",
]
