"""The `gateway` section: the gRPC server in front."""

from __future__ import annotations

from pydantic import Field, model_validator

from autoscaling.settings import PolicySettings, settings_of
from cluster.config.section import Section


class TlsConfig(Section):
    """TLS of the gateway: PEM files, read anew when they change."""

    certificate: str = Field(description="File with the gateway's certificate, and those up to its authority's.")
    key: str = Field(description="File with its private key.")
    client_ca: str | None = Field(
        None, description="File with the authority of callers' certificates (mTLS). Default: callers need none."
    )


class GatewayAutoscalingConfig(Section):
    """How many gateways, by the calls that they carry."""

    max_replicas: int = Field(ge=1, description="Most gateways; gateway.replicas is the least.")
    streams: int = Field(256, ge=1, description="Calls in flight that one gateway should carry.")
    up_delay_s: float = Field(0, ge=0, description="Seconds that the need for more must last.")
    down_delay_s: float = Field(300, ge=0, description="Seconds that fewer must do before one leaves.")
    step_interval_s: float = Field(10, ge=0, description="Seconds between two changes.")


class GatewayConfig(Section):
    """The gRPC server in front."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(50051, ge=1, le=65535, description="TCP port of the gRPC server.")
    replicas: int = Field(1, ge=1, description="Gateways, at most one a node; with autoscaling the least.")
    autoscaling: GatewayAutoscalingConfig | None = Field(
        None, description="More gateways as they carry more calls. Default: always as many as replicas."
    )
    max_message_mb: int = Field(64, ge=1, le=2047, description="Largest message in either direction, MiB.")
    max_concurrent_requests: int = Field(1024, ge=1, description="Requests in flight; more are refused.")
    drain_notice_s: float = Field(
        3, ge=0, description="Seconds in which a gateway that leaves says NOT_SERVING and still takes calls."
    )
    drain_grace_s: float = Field(
        30, ge=0, description="Seconds that its running calls then have; those that last longer end UNAVAILABLE."
    )
    num_cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves for a gateway.")
    node_labels: dict[str, str] = Field(
        default_factory=dict, description="Labels that Ray nodes must have for a gateway. Default: any node."
    )
    reflection: bool = Field(True, description="Serve gRPC reflection.")
    tls: TlsConfig | None = Field(None, description="Certificates. Default: no TLS.")
    health_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port for health alone, without TLS, for probes that have none. Default: none.",
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Prometheus metrics of a Ray that `up` starts. Default: any free port."
    )

    @model_validator(mode="after")
    def _scales(self) -> GatewayConfig:
        if self.max_replicas < self.replicas:
            why = f"max_replicas ({self.max_replicas}) is below gateway.replicas ({self.replicas}); raise it"
            raise ValueError(f"autoscaling: {why}")
        return self

    @property
    def max_replicas(self) -> int:
        """Most gateways."""
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas

    def policy_settings(self) -> PolicySettings | None:
        """Of the policy that scales gateways. None when it has nothing to decide."""
        if self.autoscaling is None or self.max_replicas == self.replicas:
            return None
        values = self.autoscaling.model_dump(exclude={"max_replicas", "streams"})
        bounds = {"min_replicas": self.replicas, "max_replicas": self.max_replicas}
        return settings_of({"sequences": self.autoscaling.streams, **values}, **bounds)
