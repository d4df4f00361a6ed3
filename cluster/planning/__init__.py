"""Whether a variant fits a GPU, on how many, and with what configuration. Pure: no torch, no ray, no pydantic.

Every size follows from the model's config; what vLLM takes beside that is estimated in `overheads`, with its sources.
"""
