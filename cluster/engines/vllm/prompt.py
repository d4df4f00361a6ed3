"""A prompt in the form that vLLM's own renderer would hand to its engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.engines.vllm.media import Feature, PlacedFeature


def vllm_prompt(token_ids: list[int], placed: Sequence[PlacedFeature]) -> Any:
    """The token ids as they are, and the features behind their soft tokens."""
    from vllm.inputs import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

    if not placed:
        return tokens_input(token_ids)
    items: dict[str, list[Any]] = {}
    hashes: dict[str, list[str]] = {}
    places: dict[str, list[Any]] = {}
    for item in placed:
        kind = item.feature.kind
        items.setdefault(kind, []).append(_item(item.feature))
        hashes.setdefault(kind, []).append(item.feature.name)
        places.setdefault(kind, []).append(PlaceholderRange(item.offset, item.feature.soft_tokens))
    return mm_input(token_ids, MultiModalKwargsItems(items), hashes, places)


def _item(feature: Feature) -> Any:
    from vllm.multimodal.inputs import MultiModalBatchedField, MultiModalFieldElem, MultiModalKwargsItem

    field = MultiModalBatchedField()
    return MultiModalKwargsItem({name: MultiModalFieldElem(data, field) for name, data in feature.tensors.items()})
