"""What every section of the configuration is: validated, frozen, and without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """The configuration cannot be used; the message says where and why."""


class Section(BaseModel):
    """Keys that nobody knows are errors."""

    # Inputs may be secrets, and pydantic's errors end up in tracebacks.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
