"""What can be wrong with media."""


class MediaError(ValueError):
    """Media bytes that cannot be used; the message tells the caller what to change."""


class DecodeTimeout(MediaError):
    """Decoding took too long this time."""


def undecodable(what: str, error: Exception) -> MediaError:
    """The error for bytes that a decoder gave up on, with the decoder's own words where they are for people."""
    words = getattr(error, "strerror", None) or (str(error) if isinstance(error, OSError) else "")
    return MediaError(f"the {what} is truncated or corrupt" + (f" ({words})" if words else ""))
