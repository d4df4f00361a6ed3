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
from cluster.planning.parallelism import rank_counts
from cluster.planning.question import Question
from cluster.planning.weights import EXPERT_PARALLEL, weight_bytes

_GPUS_OF_A_NODE = 8
# cluster/engines/kv_budget.py and model/runtime/kv_cache.py: the share of free memory, and the sizes of pages.
_NATIVE_KV_SHARE = 0.8
_PAGE_TOKENS, _LONGEST_IMAGE = 16, 1120


def layouts(question: Question) -> list[Layout]:
    """All that the engine can run on the GPUs at hand, fewest GPUs first."""
    most = min(question.count or _GPUS_OF_A_NODE, _GPUS_OF_A_NODE)
    planned = _best_batch if question.engine == "native" and question.sequences is None else layout
    return [planned(question, ranks) for ranks in rank_counts(question.config.text, question.engine, most)]


def layout(question: Question, ranks: int) -> Layout:
    """On so many GPUs."""
    return _native(question, ranks) if question.engine == "native" else _vllm(question, ranks)


def _best_batch(question: Question, ranks: int) -> Layout:
    """The native engine takes the sliding pages of a whole batch at its start: a smaller batch may hold more."""
    halvings = (question.batch // ranks).bit_length()
    batches = [max(ranks, question.batch >> halving) for halving in range(max(1, halvings))]
    tried = [_native(replace(question, sequences=batch), ranks) for batch in batches]
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
        graph_bytes=GRAPH_BYTES if question.has_graphs else 0,
        runtime_bytes=RUNTIME_BYTES + (PEER_BYTES if ranks > 1 else 0),
        reserve_bytes=0,
        first_bytes=cost.sequence_bytes(question.context, IN_FLIGHT_STEPS * chunk),
        next_bytes=cost.sequence_bytes(question.context),
        most_sequences=question.batch,
    )


def _native(question: Question, ranks: int) -> Layout:
    """Four fifths of what weights leave are the cache's, the rest is for activations. Each rank has its sequences."""
    config, usable = question.config, int(question.gpu.memory_bytes * question.share)
    cost, batch = kv_cost(config.text, KV_BYTES[question.kv]), math.ceil(question.batch / ranks)
    weights = weight_bytes(config, question.quantization, ranks, EXPERT_PARALLEL)
    runtime = RUNTIME_BYTES + (PEER_BYTES if ranks > 1 else 0)
    free = max(0, usable - sum(weights.values()) - runtime)
    sliding = windowed_tokens(config.text.sliding_window, batch, question.chunk) * cost.local_bytes
    whole = question.context * cost.global_bytes
    return Layout(
        ranks=ranks,
        context=question.context,
        usable_bytes=usable,
        weights=weights,
        rope_bytes=0,
        activation_bytes=0,
        graph_bytes=0,
        runtime_bytes=runtime,
        reserve_bytes=math.ceil(free * (1 - _NATIVE_KV_SHARE)),
        first_bytes=sliding + whole,
        next_bytes=whole,
        most_sequences=question.batch,
        owners=ranks,
    )


def windowed_tokens(window: int, batch: int, chunk: int) -> int:
    """Tokens in the pages of sliding layers, all of which the native engine takes at its start."""
    seen = math.ceil(window / _PAGE_TOKENS) + 1
    filled = math.ceil(max(chunk, _LONGEST_IMAGE) / _PAGE_TOKENS)
    return (batch * (2 * seen + 1) + filled) * _PAGE_TOKENS
