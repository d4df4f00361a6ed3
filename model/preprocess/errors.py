"""What can be wrong with media here."""


class UnusableMedia(ValueError):
    """Media bytes that cannot be decoded, or hold nothing that can be encoded."""


class TookTooLong(UnusableMedia):
    """Decoding took too long this time."""
