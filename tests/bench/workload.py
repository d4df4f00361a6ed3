"""What is asked of both sides of a benchmark, and what a side says of it."""

import random
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Workload:
    """Prompts and how many tokens to answer to each; `batch` of them at a time."""

    prompts: list[list[int]]
    num_tokens: list[int]
    batch: int

    @classmethod
    def even(cls, batch: int, prompt: int, answer: int, seed: int) -> "Workload":
        """One batch of equal lengths: nothing is lost to padding, and nobody waits for anybody."""
        return cls(_prompts([prompt] * batch, seed), [answer] * batch, batch)

    @classmethod
    def mixed(cls, batch: int, seed: int) -> "Workload":
        """Three batches' worth: prompts of 16 to 256 tokens, answers of 16 to 128."""
        generator = random.Random(seed)
        count = 3 * batch
        lengths = [generator.randint(16, 256) for _ in range(count)]
        return cls(_prompts(lengths, seed), [generator.randint(16, 128) for _ in range(count)], batch)


@dataclass(frozen=True)
class Timed:
    """Answers, seconds until every prompt had its first token, and those until the end.

    `num_decoded` tokens came in the second time; a batch that is not even counts it all as one.
    """

    answers: list[list[int]]
    prefill_s: float
    decode_s: float
    num_decoded: int


class Side(Protocol):
    """A system that answers greedily."""

    def answer(self, workload: Workload) -> Timed:
        """Exactly as many tokens as asked for; nothing is remembered."""
        ...


def _prompts(lengths: list[int], seed: int) -> list[list[int]]:
    generator = random.Random(seed)
    return [[generator.randint(300, 1000) for _ in range(length)] for length in lengths]
