"""Callers of every kind, each a thread that asks one thing after another until it is told to stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc

from cluster.client import Client, Piece
from cluster.errors import ClusterError
from protos.gemmacluster.v1.content_pb2 import Content, Part
from tests.chaos.record import Outcome, Record
from tests.chaos.world import ECHO, NATIVE
from tests.cluster.media_samples import flac, image

JSON: dict[str, Any] = {"json_object": {}}
_DEADLINE_S = 60.0
_RESUME_FOR_S = 45.0


@dataclass(frozen=True)
class Question:
    """What is asked: always the same, so that the answer always is."""

    name: str
    message: Any
    options: dict[str, Any] = field(default_factory=dict)


def _media(number: int, *blobs: tuple[str, bytes]) -> Content:
    parts = [Part(inline_data={"mime_type": kind, "data": data}) for kind, data in blobs]
    return Content(role=1, parts=[*parts, Part(text=f"{number}: what is it?")])


def questions() -> dict[str, list[Question]]:
    """By kind."""
    picture, clip = ("image/png", image("PNG", 90, 60)), ("audio/flac", flac(0.6))
    greedy: dict[str, Any] = {"model": NATIVE, "temperature": 0.0, "max_output_tokens": 40}
    long = " ".join(f"w{number}" for number in range(120))
    return {
        "text": [Question(f"text {n}", f"{n} {long}", {"model": ECHO, "max_output_tokens": 200}) for n in range(6)],
        "greedy": [Question(f"greedy {n}", f"{n} Why is the sky blue?", greedy) for n in range(6)],
        "seeded": [
            Question(f"seeded {n}", f"{n} Tell me.", {**greedy, "temperature": 1.0, "seed": n, "response_format": JSON})
            for n in range(4)
        ],
        "image": [Question(f"image {n}", _media(n, picture), greedy) for n in range(3)],
        "audio": [Question(f"audio {n}", _media(n, clip), greedy) for n in range(3)],
    }


class Callers:
    """All threads, and what they saw."""

    def __init__(self, address: str, seed: int) -> None:
        self._address, self._seed = address, seed
        self._questions = questions()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.record = Record()
        self.undisturbed: dict[str, str] = {}
        self.sessions = [f"chaos-{seed}-{number}" for number in range(3)]

    def ask_undisturbed(self) -> None:
        """Everything once, while nothing is hurt; and makes the sessions."""
        with Client(self._address, timeout_s=_DEADLINE_S) as client:
            for question in (item for kind in self._questions.values() for item in kind):
                self.undisturbed[question.name] = _text(client.stream(question.message, **question.options))
            for session in self.sessions:
                client.ensure_session(session)

    def start(self) -> None:
        """Two threads for each kind, and one for each session."""
        jobs: list[Callable[[Client, Random], Outcome]] = []
        jobs += [self._streaming(kind) for kind in self._questions]
        jobs += [self._resuming, self._resuming, self._giving_up]
        jobs += [self._talking(session) for session in self.sessions]
        for number, job in enumerate(jobs):
            thread = threading.Thread(target=self._work, args=(job, Random(f"{self._seed} {number}")))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> list[str]:
        """Waits for what still runs. Names those that never end."""
        self._stop.set()
        ends_at = time.monotonic() + 2 * _DEADLINE_S
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _work(self, job: Callable[[Client, Random], Outcome], random: Random) -> None:
        while not self._stop.is_set():
            with Client(self._address, timeout_s=_DEADLINE_S) as client:
                began = time.monotonic()
                outcome = job(client, random)
                outcome.seconds = time.monotonic() - began
            self.record.add(outcome)
            if outcome.status != "OK":
                self._stop.wait(0.5)

    def _streaming(self, kind: str) -> Callable[[Client, Random], Outcome]:
        def ask(client: Client, random: Random) -> Outcome:
            question = random.choice(self._questions[kind])
            outcome = Outcome(kind, question.name)
            _ended(outcome, lambda: _read(outcome, client.stream(question.message, **question.options)))
            return outcome

        return ask

    def _giving_up(self, client: Client, random: Random) -> Outcome:
        """After a few messages."""
        question = random.choice(self._questions["text"])
        outcome = Outcome("given up", question.name, cancelled=True)

        def some() -> None:
            with closing(client.stream(question.message, **question.options)) as stream:
                _read(outcome, (next(stream) for _ in range(random.randint(1, 5))))

        _ended(outcome, some)
        return outcome

    def _resuming(self, client: Client, random: Random) -> Outcome:
        """Goes on where the connection was lost, on whichever gateway there is."""
        question = random.choice(self._questions["text"] + self._questions["greedy"])
        outcome, request_id = Outcome("resumed", question.name), str(uuid.UUID(int=random.getrandbits(128)))
        stream = client.stream(question.message, request_id=request_id, resumable=True, **question.options)
        _ended(outcome, lambda: _read(outcome, stream))
        ends_at = time.monotonic() + _RESUME_FOR_S
        while outcome.status != "OK" and outcome.indexes and time.monotonic() < ends_at:
            time.sleep(0.3)
            outcome.resumptions += 1
            with Client(self._address, timeout_s=_DEADLINE_S) as again:
                rest = again.resume(request_id, outcome.indexes[-1])
                _ended(outcome, lambda rest=rest: _read(outcome, rest))  # type: ignore[misc]
        return outcome

    def _talking(self, session: str) -> Callable[[Client, Random], Outcome]:
        """Turn after turn, each with a text of its own; what is repeated is the whole conversation, so few words."""
        count = iter(range(1_000_000))

        def ask(client: Client, _: Random) -> Outcome:
            turn = f"turn {next(count)}"
            outcome = Outcome("session", turn, session=session, turn=turn)
            options = {"model": ECHO, "session": session, "max_output_tokens": 6}
            _ended(outcome, lambda: _read(outcome, client.stream(turn, **options)))
            return outcome

        return ask


def _read(outcome: Outcome, stream: Iterable[Piece]) -> None:
    for piece in stream:
        outcome.text += piece.text
        outcome.indexes.append(piece.response.chunk_index)
        outcome.migrations = max(outcome.migrations, piece.response.usage.migrations)


def _ended(outcome: Outcome, read: Callable[[], None]) -> None:
    try:
        read()
    except ClusterError as error:
        outcome.status, outcome.error = error.code.name, str(error)
    except grpc.RpcError as error:
        outcome.status, outcome.error = error.code().name, str(error.details())
    else:
        outcome.status, outcome.error = "OK", ""


def _text(stream: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in stream)
