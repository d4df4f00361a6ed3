"""Turns public requests into checked ones; whatever is wrong with a request is found here, all of it at once."""

from cluster.codec.codec import Codec, parse_system_instruction

__all__ = ["Codec", "parse_system_instruction"]
