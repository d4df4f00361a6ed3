"""How an answer is shown while it comes."""

from __future__ import annotations

import json
import sys

import typer
from google.protobuf.json_format import MessageToDict

from cluster.client import Piece
from protos.gemmacluster.v1.generation_pb2 import QUEUE_REASON_STARTING, QueueStatus, RoutingInfo


def show(piece: Piece, is_thinking: bool) -> bool:
    """Thoughts go to stderr, dimmed; True if the answer is still in one."""
    if piece.queue is not None:
        print(queue_line(piece.queue), end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    if piece.response.HasField("routing"):
        print(_routing_line(piece.response.routing), file=sys.stderr, flush=True)
    typer.secho(piece.thought, dim=True, nl=False, err=True)
    is_thinking = is_thinking or bool(piece.thought)
    if is_thinking and (piece.text or piece.calls):
        print(file=sys.stderr, flush=True)
        is_thinking = False
    print(piece.text, end="", flush=True)
    for call in piece.calls:
        print(f"{call.name}({json.dumps(MessageToDict(call.args), ensure_ascii=False)})", flush=True)
    return is_thinking


def _routing_line(routing: RoutingInfo) -> str:
    why = routing.reasons[0].message if routing.reasons else "the only choice"
    return f"[{routing.variant}] {why} (queued {routing.queue_ms:.0f} ms)"


def queue_line(queue: QueueStatus) -> str:
    """As wide whatever it says, to be written over."""
    why = "starts a replica" if queue.reason == QUEUE_REASON_STARTING else "is busy"
    ahead = f", {queue.requests_ahead} before this one" if queue.requests_ahead else ""
    left = f", about {queue.wait_ms / 1000:.0f} s to go" if queue.HasField("wait_ms") else ""
    return f"[{queue.variant}] {why}{ahead}{left} ({queue.waited_ms / 1000:.0f} s so far)".ljust(79)
