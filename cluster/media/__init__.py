"""Checks images, sound and video that callers send: decoded for real, within bounds of memory and time."""

from cluster.media.errors import MediaError
from cluster.media.inspector import Inspector, inspect, inspect_contents, inspect_media
from cluster.media.limits import MediaLimits

__all__ = ["Inspector", "MediaError", "MediaLimits", "inspect", "inspect_contents", "inspect_media"]
