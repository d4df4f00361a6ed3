"""A variant's `vllm` section: what only that engine reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cluster.config.section import Section


class DraftConfig(Section):
    """Speculative decoding: a small model drafts tokens, which the large one checks in one step."""

    checkpoint: str = Field(description="The variant's assistant checkpoint: a folder, or a Hugging Face repository.")
    tokens: int = Field(4, ge=1, le=16, description="Tokens drafted for each step.")


class VllmConfig(Section):
    """What only the vLLM engine reads."""

    pipeline_parallel: int = Field(1, ge=1, description="Stages of layers, each on ranks of its own.")
    data_parallel: int = Field(1, ge=1, description="Engines behind one replica, all on GPUs of one node.")
    expert_balance: bool = Field(False, description="Move experts between ranks as they are used (EPLB).")
    media: dict[Literal["image", "audio", "video"], int] = Field(
        default_factory=dict, description="Most media of a kind in a prompt; 0 takes none. Default: any number."
    )
    text_only: bool = Field(False, description="Take no media, and keep the encoders out of memory.")
    draft: DraftConfig | None = Field(None, description="Speculative decoding. Default: none.")
    adapter: str | None = Field(None, description="Folder of a LoRA adapter that all answers use. Default: none.")
    enforce_eager: bool | None = Field(None, description="Compile nothing. Default: on CPU, where it takes minutes.")
    engine_args: dict[str, Any] = Field(
        default_factory=dict, description="More of vLLM's EngineArgs, by their names there."
    )
