"""The `logs` and `traces` sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cluster.config.section import Section


class LogsConfig(Section):
    """The access log: a line for each call, without what it says."""

    format: Literal["json", "text", "off"] = Field("json", description="Of a line; off writes none.")
    file: str | None = Field(
        None, description="File on each gateway's node. Default: the gateway's output, in Ray's logs."
    )


class TracesConfig(Section):
    """OpenTelemetry traces, sent over OTLP."""

    endpoint: str | None = Field(
        None,
        description="Collector, such as http://127.0.0.1:4317. Default: $OTEL_EXPORTER_OTLP_ENDPOINT, else no traces.",
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the requests that are traced when their caller has not decided it."
    )
