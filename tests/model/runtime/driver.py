"""Drives an EngineLoop from a test: submits requests, waits, and gathers what came back."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.sampling import SamplingParams

TIMEOUT_S = 60


@dataclass
class Gathered:
    """All outputs of one request, in order."""

    outputs: list[TokenOutput] = field(default_factory=list)
    is_finished: threading.Event = field(default_factory=threading.Event)
    has_begun: threading.Event = field(default_factory=threading.Event)

    def __call__(self, output: TokenOutput) -> None:
        assert not self.is_finished.is_set(), "an output after the last one"
        self.outputs.append(output)
        self.has_begun.set()
        if output.finish_reason is not None:
            self.is_finished.set()

    def wait(self) -> "Gathered":
        assert self.is_finished.wait(TIMEOUT_S), "no last output"
        return self

    @property
    def tokens(self) -> list[int]:
        return [token_id for output in self.outputs for token_id in output.token_ids]

    @property
    def text(self) -> str:
        return "".join(output.text for output in self.outputs)

    @property
    def last(self) -> TokenOutput:
        return self.outputs[-1]


def submit(loop: EngineLoop, request_id: str, prompt: Iterable[int], params: SamplingParams) -> Gathered:
    gathered = Gathered()
    loop.submit(request_id, prompt, params, gathered)
    return gathered


def generate(loop: EngineLoop, prompts: list[list[int]], params: list[SamplingParams]) -> list[Gathered]:
    """All requests at once; returns when every one has its last output."""
    pairs = zip(prompts, params, strict=True)
    running = [submit(loop, f"r{i}", prompt, param) for i, (prompt, param) in enumerate(pairs)]
    return [gathered.wait() for gathered in running]


def greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens, temperature=0, ignore_eos=True)
