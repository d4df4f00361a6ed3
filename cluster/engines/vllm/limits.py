"""Which media a request may hold. Past this check vLLM believes what it is given."""

from __future__ import annotations

from collections import Counter

from cluster.capabilities import not_taken
from cluster.config import VariantConfig
from cluster.engines.base import EngineRequest
from cluster.errors import InvalidRequest, NotSupported
from model.config import ModelConfig


def check_media(request: EngineRequest, config: VariantConfig, model: ModelConfig) -> None:
    """Raises NotSupported for a modality that the variant does not take, InvalidRequest for too many media."""
    counts = Counter(medium.modality for medium in request.media)
    for modality in sorted(counts.keys() & not_taken(config, model)):
        raise NotSupported(f"this variant takes no {modality}")
    for modality, most in config.vllm.media.items():
        if counts[modality] > most:
            found = counts[modality]
            raise InvalidRequest.of(
                "contents", f"{found} of {modality} are more than the {most} that this variant takes"
            )
