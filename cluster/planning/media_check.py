"""Media against the chunks in which vLLM computes prompts: on GPUs it refuses to start if one cannot be whole."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config import VariantConfig
from cluster.planning.question import Question

# 32 frames of 70 soft tokens, each between two marks and after its time in six tokens.
LONGEST_VIDEO_TOKENS = 32 * (70 + 2 + 6)


def media_refusals(question: Question, variant: VariantConfig) -> Iterator[str]:
    """Where tokens of an image see each other, vLLM computes a medium in one step, the longest video too."""
    is_whole = question.engine == "vllm" and question.config.text.has_bidirectional_images
    takes_video = question.config.vision is not None and variant.vllm.media.get("video") != 0
    step = max(question.chunk, question.batch)
    if is_whole and takes_video and step < LONGEST_VIDEO_TOKENS:
        yield (
            f"variants.{question.variant}.prefill_tokens: {question.chunk} cannot hold the longest video, "
            f"{LONGEST_VIDEO_TOKENS} tokens, which vLLM computes in one step; set {LONGEST_VIDEO_TOKENS} or more, or "
            "vllm.media: {video: 0}"
        )
