"""The `routing` section: how a variant is chosen."""

from __future__ import annotations

from pydantic import Field

from cluster.config.section import Section


class SizeClass(Section):
    """A row of the size table: requests up to these limits prefer these variants."""

    name: str = Field(description="Shown to callers in the routing reason.")
    max_prompt_tokens: int | None = Field(None, ge=1, description="Prompt up to this. Default: any.")
    max_output_tokens: int | None = Field(None, ge=1, description="Output asked for up to this. Default: any.")
    thinking: bool | None = Field(None, description="Only with, or only without, thinking. Default: both.")
    prefer: list[str] = Field(min_length=1, description="Variants, best first.")


class RoutingPolicy(Section):
    """How a variant is chosen among those that can take a request."""

    size_classes: list[SizeClass] = Field(
        default_factory=lambda: [
            SizeClass(
                name="small",
                max_prompt_tokens=512,
                max_output_tokens=256,
                thinking=False,
                prefer=["e2b", "e4b"],
            ),
            SizeClass(
                name="medium",
                max_prompt_tokens=4096,
                max_output_tokens=1024,
                thinking=False,
                prefer=["e4b", "26b-a4b"],
            ),
            SizeClass(name="large", max_prompt_tokens=32768, prefer=["26b-a4b", "31b"]),
            SizeClass(name="huge", prefer=["31b", "26b-a4b"]),
        ],
        description="First row that fits wins, for the balanced preference.",
    )
    overload_queue: int = Field(
        32,
        ge=1,
        description="A variant with this many requests waiting per replica yields to the next candidate.",
    )
    cold_wait_s: float = Field(
        0,
        ge=0,
        description="A variant without replicas yields to the next candidate that has some, unless its own is expected "
        "within so many seconds, or its start was never measured. Default: always yields.",
    )
    sticky_sessions: bool = Field(True, description="A session stays on its variant while that can take it.")
