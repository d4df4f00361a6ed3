"""The layouts that a question has with each engine."""

from __future__ import annotations

import math
from dataclasses import replace

from cluster.planning.kv_cache import KV_BYTES, kv_cost
from cluster.planning.layout import Layout
from cluster.planning.overheads import (
    GRAPH_BYTES,
    IN_FLIGHT_STEPS,
    PEER_BYTES,
    RUNTIME_BYTES,
    activation_bytes,
    rope_bytes,
)
from cluster.planning.question import Question
from cluster.planning.weights import weight_bytes
from model.config import TextConfig

_GPUS_OF_A_NODE = 8
# cluster/engines/kv_budget.py and model/runtime/kv_cache.py: the share of free memory, and the sizes of pages.
_NATIVE_KV_SHARE = 0.8
_PAGE_TOKENS, _LONGEST_IMAGE = 16, 1120


def layouts(question: Question) -> list[Layout]:
    """All that the engine can run on the GPUs at hand, fewest GPUs first."""
    if question.engine == "native":
        return [_best_batch(question)]
    most = min(question.count or _GPUS_OF_A_NODE, _GPUS_OF_A_NODE)
    return [layout(question, ranks) for ranks in rank_counts(question.config.text, most)]


def rank_counts(text: TextConfig, most: int) -> list[int]:
    """Numbers of GPUs up to `most` that can share the model.

    Query heads, MLP columns and experts are divided evenly; key/value heads too, or repeated evenly.
    """
    return [ranks for ranks in range(1, most + 1) if is_divisible(text, ranks)]


def is_divisible(text: TextConfig, ranks: int) -> bool:
    """Can so many ranks share the model?"""
    shared = [text.num_heads, *(spec.mlp_size for spec in text.layers)]
    if text.moe is not None:
        shared.append(text.moe.num_experts)
    kv_heads = {spec.num_kv_heads for spec in text.layers}
    return all(size % ranks == 0 for size in shared) and all(
        heads % ranks == 0 or ranks % heads == 0 for heads in kv_heads
    )


def layout(question: Question, ranks: int) -> Layout:
    """On so many GPUs. The native engine has one."""
    return _native(question) if question.engine == "native" else _vllm(question, ranks)


def _best_batch(question: Question) -> Layout:
    """The native engine takes the sliding pages of a whole batch at its start: a smaller batch may hold more."""
    if question.sequences is not None:
        return _native(question)
    batches = [question.batch >> halvings for halvings in range(question.batch.bit_length())]
    tried = [_native(replace(question, sequences=batch)) for batch in batches]
    return max(tried, key=lambda layout: (layout.sequences, -layout.missing_bytes))


def _vllm(question: Question, ranks: int) -> Layout:
    config, chunk = question.config, question.chunk
    cost = kv_cost(config.text, KV_BYTES[question.kv], ranks)
    return Layout(
        ranks=ranks,
        context=question.context,
        usable_bytes=int(question.gpu.memory_bytes * question.share),
        weights=weight_bytes(config, question.quantization, ranks),
        rope_bytes=rope_bytes(config.text),
        activation_bytes=activation_bytes(config, chunk, question.batch, ranks),
        graph_bytes=GRAPH_BYTES,
        runtime_bytes=RUNTIME_BYTES + (PEER_BYTES if ranks > 1 else 0),
        reserve_bytes=0,
        first_bytes=cost.sequence_bytes(question.context, IN_FLIGHT_STEPS * chunk),
        next_bytes=cost.sequence_bytes(question.context),
        most_sequences=question.batch,
    )


def _native(question: Question) -> Layout:
    """Four fifths of what weights leave are the cache's, the rest is for activations."""
    config, usable = question.config, int(question.gpu.memory_bytes * question.share)
    cost = kv_cost(config.text, KV_BYTES[question.kv])
    weights = weight_bytes(config, question.quantization)
    free = max(0, usable - sum(weights.values()) - RUNTIME_BYTES)
    sliding = windowed_tokens(config.text.sliding_window, question.batch, question.chunk) * cost.local_bytes
    whole = question.context * cost.global_bytes
    return Layout(
        ranks=1,
        context=question.context,
        usable_bytes=usable,
        weights=weights,
        rope_bytes=0,
        activation_bytes=0,
        graph_bytes=0,
        runtime_bytes=RUNTIME_BYTES,
        reserve_bytes=math.ceil(free * (1 - _NATIVE_KV_SHARE)),
        first_bytes=sliding + whole,
        next_bytes=whole,
        most_sequences=question.batch,
    )


def windowed_tokens(window: int, batch: int, chunk: int) -> int:
    """Tokens in the pages of sliding layers, all of which the native engine takes at its start."""
    seen = math.ceil(window / _PAGE_TOKENS) + 1
    filled = math.ceil(max(chunk, _LONGEST_IMAGE) / _PAGE_TOKENS)
    return (batch * (2 * seen + 1) + filled) * _PAGE_TOKENS
