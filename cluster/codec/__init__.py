"""Turns public requests into checked ones; whatever is wrong with a request is found here, all of it at once."""

from cluster.codec.codec import Codec, parse_system_instruction
from cluster.codec.tool_turns import check_results

__all__ = ["Codec", "check_results", "parse_system_instruction"]
