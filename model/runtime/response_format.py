"""What an answer must look like, as plain text that any engine can compile for itself."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["json_schema", "json_object", "regex", "choice"]


@dataclass(frozen=True)
class ResponseFormat:
    """`text` is the JSON Schema, "" for any JSON object, the regular expression, or a JSON list of the choices."""

    kind: Kind
    text: str = ""
