"""Engine loops that step together, each in a process that a test commands and may kill."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from model.dispatch import AllToAllDispatcher
from model.expert_placement import ExpertPlacement
from model.expert_shard import ExpertShard, expert_bytes, mixtures
from model.media_encoder import MediaEncoder
from model.multimodal import GemmaModel, load_multimodal
from model.runtime.config import RuntimeConfig
from model.runtime.gang import GangConfig, GangSeat, open_store
from model.runtime.loop import EngineLoop
from model.runtime.pace import Together
from model.runtime.prompt_media import PromptMedia
from model.runtime.sampling import SamplingParams
from model.soft_rows import SoftTokens
from model.soft_tokens import SoftTokenRules
from model.tokenizer import Tokenizer
from tests.model.ranks import CONTEXT
from tests.model.runtime.driver import Gathered, greedy

TIMEOUT_S = 60


class Job(NamedTuple):
    """A prompt of random ids, behind an image of the given size if there is one."""

    seed: int
    length: int
    max_tokens: int
    image: tuple[int, int] | None = None


@dataclass
class Worker:
    """A model, whole or a shard, and its loop."""

    model: GemmaModel
    loop: EngineLoop
    path: Path
    number: int = 0
    running: list[Gathered] = field(default_factory=list)

    def submit(self, job: Job) -> Gathered:
        prompt, media = self._prompt(job)
        gathered, self.number = Gathered(), self.number + 1
        self.loop.submit(f"r{self.number}", prompt, greedy(job.max_tokens), gathered, media)
        return gathered

    def answers(self, jobs: list[Job]) -> list[list[int]]:
        """Greedy tokens, all jobs at once."""
        return [gathered.wait().tokens for gathered in [self.submit(job) for job in jobs]]

    def begin(self, jobs: list[Job]) -> None:
        """Returns when every answer has begun."""
        self.running = [self.submit(job) for job in jobs]
        assert all(gathered.has_begun.wait(TIMEOUT_S) for gathered in self.running)

    def ends(self) -> list[tuple[str | None, str, float]]:
        """How each running answer ended: reason, kind of error, and at what time."""
        for gathered in self.running:
            gathered.wait()
        lasts = [gathered.last for gathered in self.running]
        return [(last.finish_reason, type(last.error).__name__, time.time()) for last in lasts]

    def first_token_s(self, job: Job) -> float:
        """Seconds from submitting to the first token."""
        started = time.monotonic()
        assert self.submit(job).has_begun.wait(TIMEOUT_S)
        return time.monotonic() - started

    def cpu_s(self, seconds: float) -> float:
        """Processor time used while `seconds` pass."""
        before = time.process_time()
        time.sleep(seconds)
        return time.process_time() - before

    def broken(self) -> str:
        """What becomes of a request whose media cannot be laid out."""
        gathered = Gathered()
        nothing = torch.empty(0, dtype=torch.int64)
        media = _BrokenMedia(SoftTokens(nothing, torch.empty(0, 1)), None, ())
        self.loop.submit("broken", [5, 6, 7], greedy(3), gathered, media)
        return str(gathered.wait().last.error)

    def stop(self) -> None:
        self.loop.stop()

    def is_alive(self) -> bool:
        return self.loop.is_alive

    def placements(self) -> list[ExpertPlacement]:
        """Of each layer."""
        dispatchers = [moe.dispatcher for _, moe in mixtures(self.model.text)]
        return [dispatcher.placement for dispatcher in dispatchers if isinstance(dispatcher, AllToAllDispatcher)]

    def expert_bytes(self) -> int:
        return expert_bytes(self.model.text)

    def seeded(self, seed: int) -> list[int]:
        """Tokens drawn at a high temperature."""
        gathered = Gathered()
        self.loop.submit(f"s{seed}", [5, 6, 7], SamplingParams(8, temperature=2, seed=seed), gathered)
        return gathered.wait().tokens

    def _prompt(self, job: Job) -> tuple[list[int], PromptMedia | None]:
        generator = torch.Generator().manual_seed(job.seed)
        prompt: list[int] = torch.randint(300, 500, (job.length,), generator=generator).tolist()
        if job.image is None:
            return prompt, None
        rules = SoftTokenRules.from_checkpoint(self.path)
        soft = MediaEncoder(self.model.encoders, rules).encode(_png(job), "image/png", 70)
        config = self.model.config
        prompt = [5, *[config.image_token_id or 0] * len(soft), *prompt]
        return prompt, PromptMedia.of(prompt, {"image": [soft]}, config)


class _BrokenMedia(PromptMedia):
    def chunk(self, start: int, end: int, offset: int) -> Any:
        raise ValueError("these media are broken")


def _png(job: Job) -> bytes:
    assert job.image is not None
    width, height = job.image
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(job.seed))
    out = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(out, "PNG")
    return out.getvalue()


def worker(
    path: Path, seat: GangSeat | None = None, copies: int = 0, dtype: torch.dtype = torch.float32, **limits: Any
) -> Worker:
    """The whole model, or one rank's part of it."""
    torch.set_num_threads(1)
    shard = None if seat is None else ExpertShard(seat.config.rank, seat.config.num_ranks, copies)
    model = load_multimodal(path, shard=shard, dtype=dtype)
    pace = None if seat is None or shard is None else Together.join(seat, shard, model.text, path, rebalance_passes=2)
    config = RuntimeConfig(**{"max_batch_size": 4, "max_context": 512, "num_threads": 1} | limits)
    tokenizer = Tokenizer.from_checkpoint(path)
    loop = EngineLoop(model.text, tokenizer, config, eos_token_ids=(), pace=pace)
    return Worker(model, loop, path)


def serve(pipe: Connection, path: Path, seat: GangSeat, limits: dict[str, Any]) -> None:
    """One rank of a gang: does what the pipe says until it says None."""
    here = worker(path, seat, **limits)
    while (command := pipe.recv()) is not None:
        name, args = command
        pipe.send(getattr(here, name)(*args))
    here.stop()


class Ranks:
    """All ranks of a gang, ready; whatever a test leaves of them is gone at its end."""

    def __init__(self, path: Path, num_ranks: int, limits: dict[str, Any] | None = None, **times: float) -> None:
        store = open_store("127.0.0.1")
        self._pipes, self.processes = [], []
        for rank in range(num_ranks):
            ours, theirs = CONTEXT.Pipe()
            seat = GangSeat(GangConfig(rank, num_ranks, **times), ("127.0.0.1", store.port))
            args = (theirs, path, seat, limits or {})
            self.processes.append(CONTEXT.Process(target=serve, args=args, daemon=True))
            self.processes[-1].start()
            self._pipes.append(ours)
        self._store = store

    def tell(self, rank: int, command: Callable[..., Any], *args: Any) -> None:
        """Starts a method of Worker there."""
        self._pipes[rank].send((command.__name__, args))

    def hear(self, rank: int) -> Any:
        """The answer of what was told."""
        assert self._pipes[rank].poll(TIMEOUT_S), f"rank {rank} says nothing"
        return self._pipes[rank].recv()

    def ask(self, rank: int, command: Callable[..., Any], *args: Any) -> Any:
        self.tell(rank, command, *args)
        return self.hear(rank)

    def signal(self, rank: int, number: signal.Signals) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in zip(self._pipes, self.processes, strict=True):
            if process.is_alive():
                pipe.send(None)
        for process in self.processes:
            process.join(0.2)
            process.kill()
            process.join()
