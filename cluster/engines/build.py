"""Makes the engine that a variant's configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config import VariantConfig
from cluster.engines.base import Engine

if TYPE_CHECKING:
    from model.runtime.gang import GangSeat


def build_engine(checkpoint: Path, config: VariantConfig, context_tokens: int, seat: GangSeat | None = None) -> Engine:
    """The engine, not started. Engines are imported here, so that echo needs no torch."""
    if config.engine == "vllm":
        from cluster.engines.vllm.engine import VllmEngine

        return VllmEngine(checkpoint, config, context_tokens)
    if config.engine == "echo":
        from cluster.engines.echo import EchoEngine
        from model.tokenizer import Tokenizer

        limit = config.max_batch_size + config.max_queued_requests
        tokenizer = Tokenizer.from_checkpoint(checkpoint)
        return EchoEngine(tokenizer, delay_s=config.echo_delay_ms / 1000, max_running=limit)
    from cluster.engines.native import NativeEngine

    return NativeEngine(checkpoint, config, context_tokens, seat)
