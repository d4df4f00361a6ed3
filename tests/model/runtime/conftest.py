"""Toy models of every variant whose greedy answers vary, with the transformers model that says what is right."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_model
from tests.model.conftest import reference_model

EOS_ID = 106


@dataclass(frozen=True)
class Toy:
    """One random model, as ours and as theirs."""

    path: Path
    reference: Any

    @cached_property
    def model(self) -> Transformer:
        return load_model(self.path)

    def greedy(self, prompt: list[int], num_tokens: int) -> list[int]:
        """What transformers generates."""
        ids = torch.tensor([prompt])
        output = self.reference.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        tokens: list[int] = output[0, len(prompt) :].tolist()
        return tokens


MakeToy = Callable[..., Toy]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> MakeToy:
    """`make_toy(variant, seed=0, size="small") -> Toy`, made once per session."""
    made: dict[tuple[str, int, str], Toy] = {}

    def make(variant: str, seed: int = 0, size: str = "small") -> Toy:
        key = (variant, seed, size)
        if key not in made:
            reference = reference_model(variant, seed, size, text_only=True, max_position_embeddings=4096)
            # With weaker embeddings the layers decide the next token, not the last token.
            reference.get_input_embeddings().weight.mul_(0.2)
            path = tmp_path_factory.mktemp("toy")
            reference.save_pretrained(path)
            made[key] = Toy(path, reference)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(build_tokenizer(), {})


StartLoop = Callable[..., EngineLoop]


@pytest.fixture
def start_loop(make_toy: MakeToy, tokenizer: Tokenizer) -> Iterator[StartLoop]:
    """`start_loop(variant="e2b", **limits) -> EngineLoop`, stopped when the test ends."""
    loops = []

    def start(variant: str = "e2b", **limits: Any) -> EngineLoop:
        config = RuntimeConfig(**{"max_batch_size": 4, "max_context": 256, "num_threads": 1} | limits)
        loops.append(EngineLoop(make_toy(variant).model, tokenizer, config, eos_token_ids=(EOS_ID,)))
        return loops[-1]

    yield start
    for loop in loops:
        loop.stop()


def random_prompt(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    prompt: list[int] = torch.randint(5, 280, (length,), generator=generator).tolist()
    return prompt
