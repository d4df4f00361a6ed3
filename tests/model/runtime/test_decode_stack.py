"""All blocks in one call, against the blocks one by one: the same int4 weights, the same cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import AttentionShape, LayerKind, MoeConfig, Rope, TextConfig
from model.kernels.loading import can_compile, decode_layers
from model.quantization.scheme import Quantization
from model.quantization.swap import quantize_modules
from model.runtime.config import RuntimeConfig
from model.runtime.decode_stack import DecodeStack
from model.runtime.kv_cache import PagedCache
from model.runtime.loop import EngineLoop
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence
from model.runtime.step_attention import DecodeAttention, PrefillAttention
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tests.model.runtime.driver import generate, greedy

pytestmark = pytest.mark.skipif(not can_compile(), reason="this CPU has no AVX-512 VNNI")

LOCAL, GLOBAL = LayerKind.LOCAL, LayerKind.GLOBAL
CPU = torch.device("cpu")
# Shared keys and values, a wider MLP where they are, per-layer inputs: E2B's structure.
SMALL = TextConfig(
    vocab_size=192,
    hidden_size=256,
    mlp_size=384,
    num_heads=8,
    layer_kinds=(LOCAL, GLOBAL, LOCAL, GLOBAL, LOCAL, GLOBAL),
    local=AttentionShape(128, 1, Rope(10_000.0)),
    global_=AttentionShape(256, 1, Rope(1_000_000.0, rotated_fraction=0.25)),
    sliding_window=24,
    max_position_embeddings=512,
    num_kv_shared_layers=2,
    has_double_wide_shared_mlp=True,
    per_layer_size=64,
    per_layer_vocab_size=192,
)
WITHOUT_PER_LAYER = replace(SMALL, per_layer_size=0, per_layer_vocab_size=0, num_kv_shared_layers=0)
KEYS_ARE_VALUES = replace(WITHOUT_PER_LAYER, num_heads=16, global_=AttentionShape(256, 4, Rope(1e6), k_is_v=True))
CONFIGS = [SMALL, WITHOUT_PER_LAYER, KEYS_ARE_VALUES]


def int4_model(config: TextConfig, group_size: int = 64) -> Transformer:
    """Random, with weights so large that every layer matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        model: Any = Transformer(config)
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.dim() > 1 else 0.3) + ("norm" in name))
        for block in model.blocks:
            block.layer_scalar.fill_(0.9)
            # Else one key has all the weight, and a number rounded the other way makes it another key.
            block.attention.qk_norm.mul_(0.25)
        weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
        taken = quantize_modules(model, Quantization(4, group_size), torch.float32, has_quantized_tables=False)
        for name, quantized in taken.items():
            quantized.take(weights[name])
    return model  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Side:
    """A model with a cache of its own that holds one sequence."""

    def __init__(self, model: Transformer, *, has_stack: bool) -> None:
        self._model = model
        config = RuntimeConfig(max_batch_size=2, max_context=256)
        self.cache = PagedCache(model.config, config, torch.float32, CPU)
        self._kernel = decode_layers()
        assert self._kernel is not None
        self._stack = DecodeStack(model, self.cache, self._kernel) if has_stack else None
        self._sequence = Sequence("a", range(1, 180), SamplingParams(max_tokens=1))
        assert self.cache.admit(self._sequence)

    def prefill(self, tokens: list[int]) -> None:
        start = self._make_room(len(tokens))
        attention = PrefillAttention(self.cache, self._sequence.row, start, len(tokens), CPU)
        self._model(torch.tensor(tokens), torch.arange(start, start + len(tokens)), attention)
        self.cache.advance(self._sequence, len(tokens))

    def decode(self, token: int) -> Tensor:
        position = self._make_room(1)
        attention = DecodeAttention(self.cache, [self._sequence.row], [position], CPU)
        stack = None if self._stack is None else partial(self._stack, attention)
        logits_1V: Tensor = self._model(torch.tensor([token]), torch.tensor([position]), attention, None, None, stack)
        self.cache.advance(self._sequence, 1)
        return logits_1V

    def _make_room(self, size: int) -> int:
        position = self._sequence.num_cached
        assert self.cache.extend(self._sequence, position + size)
        return position


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def decoded_twice(model: Transformer, num_prefilled: int, num_decoded: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits of token after token, with the stack and without; then what both caches hold."""
    ours, theirs = Side(model, has_stack=True), Side(model, has_stack=False)
    for side in (ours, theirs):
        side.prefill(random_ids(num_prefilled))
    for token in range(30, 30 + num_decoded):
        yield ours.decode(token), theirs.decode(token)
    for layer, store in ours.cache.layers.items():
        yield store.kv_S2KE, theirs.cache.layers[layer].kv_S2KE


@pytest.mark.parametrize("config", CONFIGS)
@torch.inference_mode()
def test_it_is_what_the_blocks_are(config: TextConfig) -> None:
    model = int4_model(replace(config, layer_kinds=(LOCAL, GLOBAL), num_kv_shared_layers=0))
    # Within the window, at its edge, beyond it.
    lengths = [1, 2, 22, 23, 24, 25, 40, 71]
    distances = [distance(*pair) for length in lengths for pair in decoded_twice(model, length, 1)]
    # An input halfway between two numbers may be rounded to the other one; that is rare.
    assert sorted(distances)[len(distances) * 2 // 3] < 1e-5
    assert max(distances) < 0.05


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("config", CONFIGS)
@torch.inference_mode()
def test_it_stays_so_through_layers_and_tokens(config: TextConfig, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    assert max(distance(*pair) for pair in decoded_twice(int4_model(config), 20, 15)) < 0.05


@torch.inference_mode()
def test_any_number_of_threads_says_the_same() -> None:
    model, answers = int4_model(SMALL), []
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        side = Side(model, has_stack=True)
        side.prefill([5])
        answers.append(torch.cat([side.decode(token) for token in range(40)]))
    assert torch.equal(*answers)


@torch.inference_mode()
def test_the_engine_uses_it_for_a_single_row(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = DecodeStack.__call__

    def counted(*args: Any) -> Tensor:
        calls.append(args)
        return plain(*args)

    monkeypatch.setattr(DecodeStack, "__call__", counted)
    limits = RuntimeConfig(max_batch_size=2, max_context=256, num_threads=1)
    with EngineLoop(int4_model(SMALL), tokenizer, limits, eos_token_ids=()) as loop:
        alone = generate(loop, [random_ids(9)], [greedy(8)])
        assert len(alone[0].tokens) == 8
        # The first of them comes with the prompt.
        assert len(calls) == 7


def random_ids(size: int) -> list[int]:
    return [11 * n % 190 + 1 for n in range(size)]


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, moe=MoeConfig(4, 2, 64)),
        replace(SMALL, num_heads=2),
        replace(SMALL, local=AttentionShape(64, 1, Rope(1e4))),
        replace(SMALL, has_attention_bias=True),
        replace(SMALL, mlp_size=96),
    ],
)
def test_what_it_cannot_hold_it_says(config: TextConfig) -> None:
    assert DecodeStack.can_hold(int4_model(SMALL))
    assert not DecodeStack.can_hold(int4_model(config))
    assert not DecodeStack.can_hold(Transformer(SMALL))
    assert not DecodeStack.can_hold(int4_model(SMALL, group_size=32))
