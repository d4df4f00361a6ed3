"""What is wrong with a response format, in words for its author."""

_MAX_CHARS = 200
_PARSE_ERROR = "error: "


class ConstraintError(ValueError):
    """The format cannot be compiled, nothing has it, or it became too complex while an answer was written."""

    @classmethod
    def of_library(cls, message: str) -> "ConstraintError":
        """From llguidance's words, which may go on with dumps of its state: the line that says what is wrong."""
        lines = [line.strip() for line in message.splitlines() if line.strip()] or ["cannot be compiled"]
        if lines[0].startswith("NoExtension"):
            return cls("matches nothing")
        said = next((line.removeprefix(_PARSE_ERROR) for line in lines if line.startswith(_PARSE_ERROR)), lines[0])
        return cls(said if len(said) <= _MAX_CHARS else said[:_MAX_CHARS] + "…")
