"""Conversations as the token ids a checkpoint was trained on, with the soft tokens of media in their places."""

from cluster.prompt.builder import PlacedMedia, Prompt, PromptBuilder

__all__ = ["PlacedMedia", "Prompt", "PromptBuilder"]
