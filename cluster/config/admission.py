"""The `admission` section: who starts when a variant is busy."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from cluster.config.section import Section

_METADATA_KEY = re.compile(r"[a-z0-9_.-]{1,64}")
CALLER_NAME = re.compile(r"[A-Za-z0-9._:@/%-]{1,128}")
CALLER_NAME_RULE = "use 1 to 128 letters, digits, '.', '_', ':', '@', '/', '%' and '-'"


class CallerConfig(Section):
    """What holds for one caller."""

    priority: Literal["interactive", "batch"] = Field(
        "interactive", description="Of its requests that do not say their own."
    )
    weight: float = Field(
        1.0, ge=0.001, le=1000, description="Its share of a busy variant, next to the other callers' weights."
    )
    concurrent_streams: int | None = Field(None, ge=0, description="Its own limit. Default: admission's; 0 is none.")
    tokens_per_minute: int | None = Field(None, ge=0, description="Its own limit. Default: admission's; 0 is none.")


class AdmissionConfig(Section):
    """Who starts when a variant is busy."""

    caller_metadata: str = Field(
        "x-caller-id",
        description="Metadata key that names the caller, for a proxy or mesh to set; without it the caller's host is "
        "its name. `authorization` names a caller `key:HASH`, HASH being `printf %s VALUE | b2sum -l 64`.",
    )
    batch_share: float = Field(
        0.125, gt=0, lt=1, description="Share of starts, and of places in the queue, that is batch's when both wait."
    )
    concurrent_streams: int = Field(
        0, ge=0, description="Streams that each caller may have at once, over all gateways. Default: any number."
    )
    tokens_per_minute: int = Field(
        0, ge=0, description="Tokens of prompts and answers a minute for each caller, over all gateways. Default: any."
    )
    lease_s: float = Field(
        30, ge=1, le=3600, description="Seconds after which the streams of a gateway that has died count no more."
    )
    callers: dict[str, CallerConfig] = Field(default_factory=dict, description="Callers by name. Default: all alike.")

    @field_validator("caller_metadata")
    @classmethod
    def _is_a_text_key(cls, key: str) -> str:
        if not _METADATA_KEY.fullmatch(key) or key.startswith("grpc-") or key.endswith("-bin"):
            rule = "use lower-case letters, digits, '-', '_' and '.'; no grpc-… and no …-bin"
            raise ValueError(f"{key!r} cannot be a metadata key that names callers; {rule}")
        return key

    @field_validator("callers")
    @classmethod
    def _have_names(cls, callers: dict[str, CallerConfig]) -> dict[str, CallerConfig]:
        for name in callers:
            if not CALLER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a caller's name; {CALLER_NAME_RULE}")
        return callers
