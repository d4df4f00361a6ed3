"""The configuration file: YAML through pydantic, every field described, validated before anything starts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from autoscaling.settings import PolicySettings, SettingsError, settings_of
from cluster.kubernetes_config import KubernetesConfig
from cluster.redis_url import RedisUrl

VARIANT_NAMES = ("e2b", "e4b", "26b-a4b", "31b")
DEFAULT_FAMILY = "pocket"
_FAMILIES = {
    "pocket": {name: f"pocket:{name}" for name in VARIANT_NAMES},
    "tiny": {name: f"tiny:{name}" for name in VARIANT_NAMES},
    "gemma-4": {
        "e2b": "google/gemma-4-E2B-it",
        "e4b": "google/gemma-4-E4B-it",
        "26b-a4b": "google/gemma-4-26B-A4B-it",
        "31b": "google/gemma-4-31B-it",
    },
}
_VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED_NAMES = {"auto", "gateway"}
_METADATA_KEY = re.compile(r"[a-z0-9_.-]{1,64}")
CALLER_NAME = re.compile(r"[A-Za-z0-9._:@/%-]{1,128}")
CALLER_NAME_RULE = "use 1 to 128 letters, digits, '.', '_', ':', '@', '/', '%' and '-'"


class ConfigError(ValueError):
    """The configuration file cannot be used; the message says where and why."""


class _Section(BaseModel):
    # Inputs may be secrets, and pydantic's errors end up in tracebacks.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsConfig(_Section):
    """TLS of the gateway: PEM files, read anew when they change."""

    certificate: str = Field(description="File with the gateway's certificate, and those up to its authority's.")
    key: str = Field(description="File with its private key.")
    client_ca: str | None = Field(
        None, description="File with the authority of callers' certificates (mTLS). Default: callers need none."
    )


class GatewayAutoscalingConfig(_Section):
    """How many gateways, by the calls that they carry."""

    max_replicas: int = Field(ge=1, description="Most gateways; gateway.replicas is the least.")
    streams: int = Field(256, ge=1, description="Calls in flight that one gateway should carry.")
    up_delay_s: float = Field(0, ge=0, description="Seconds that the need for more must last.")
    down_delay_s: float = Field(300, ge=0, description="Seconds that fewer must do before one leaves.")
    step_interval_s: float = Field(10, ge=0, description="Seconds between two changes.")


class GatewayConfig(_Section):
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


class SessionsConfig(_Section):
    """Conversations in Redis."""

    redis_url: str | None = Field(
        None,
        description="redis://, redis+sentinel://HOST,HOST/SERVICE or redis+cluster://HOST,HOST URL, rediss… for TLS. "
        "Default: $REDIS_URL, else `up` starts an embedded Valkey server.",
    )
    ttl_s: int = Field(24 * 3600, ge=1, description="Seconds a session lives after its last use.")
    timeout_s: float = Field(2.0, gt=0, description="Longest wait for Redis before UNAVAILABLE, seconds.")
    max_session_mb: int = Field(64, ge=1, description="Largest conversation, media included, MiB.")

    @field_validator("redis_url")
    @classmethod
    def _is_of_redis(cls, url: str | None) -> str | None:
        return _checked_redis_url(url)


class AnswersConfig(_Section):
    """Answers to requests that carry a request_id: kept in Redis for retries, and for ResumeGenerate."""

    keep_s: int = Field(600, ge=1, description="Seconds an answer is kept after its last message.")
    grace_s: float = Field(30, ge=0, description="Seconds a resumable answer goes on while nobody listens.")
    max_answer_mb: int = Field(
        8, ge=1, description="Most of an answer that is kept, and largest request another gateway can go on with, MiB."
    )
    lease_s: float = Field(
        5, ge=0.5, description="Seconds without a sign of life after which other gateways go on with an answer."
    )


class TracesConfig(_Section):
    """OpenTelemetry traces, sent over OTLP."""

    endpoint: str | None = Field(
        None,
        description="Collector, such as http://127.0.0.1:4317. Default: $OTEL_EXPORTER_OTLP_ENDPOINT, else no traces.",
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the requests that are traced when their caller has not decided it."
    )


class ReplicasConfig(_Section):
    """How many replicas of a variant."""

    min: int = Field(1, ge=0, description="Least replicas.")
    max: int = Field(1, ge=1, description="Most replicas.")
    target_ongoing_requests: float = Field(8, gt=0, description="Requests a replica should have in flight.")
    drain_grace_s: float = Field(
        30, ge=0, description="Seconds that answers of a replica that leaves have; longer ones go on on another."
    )
    silence_s: float = Field(
        20, ge=0.5, description="Seconds without a sign of life after which a replica's answers go on on another."
    )

    @model_validator(mode="after")
    def _ordered(self) -> ReplicasConfig:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class DraftConfig(_Section):
    """Speculative decoding: a small model drafts tokens, which the large one checks in one step."""

    checkpoint: str = Field(description="The variant's assistant checkpoint: a folder, or a Hugging Face repository.")
    tokens: int = Field(4, ge=1, le=16, description="Tokens drafted for each step.")


class VllmConfig(_Section):
    """What only the vLLM engine reads."""

    pipeline_parallel: int = Field(1, ge=1, description="Stages of layers, each on ranks of its own.")
    data_parallel: int = Field(1, ge=1, description="Engines behind one replica, all on GPUs of one node.")
    expert_balance: bool = Field(False, description="Move experts between ranks as they are used (EPLB).")
    media: dict[Literal["image", "audio", "video"], int] = Field(
        default_factory=dict, description="Most media of a kind in a prompt; 0 takes none. Default: any number."
    )
    text_only: bool = Field(False, description="Take no media, and keep the encoders out of memory.")
    draft: DraftConfig | None = Field(None, description="Speculative decoding. Default: none.")
    adapter: str | None = Field(None, description="Folder of a LoRA adapter that all answers use. Default: none.")
    enforce_eager: bool | None = Field(None, description="Compile nothing. Default: on CPU, where it takes minutes.")
    engine_args: dict[str, Any] = Field(
        default_factory=dict, description="More of vLLM's EngineArgs, by their names there."
    )


class VariantConfig(_Section):
    """One variant: its checkpoint, its engine, its replicas."""

    checkpoint: str | None = Field(
        None,
        description="Folder, Hugging Face repository, pocket:<variant> or tiny:<variant>. Default: the family's.",
    )
    engine: Literal["native", "vllm", "echo"] = Field("native", description="What runs it.")
    replicas: ReplicasConfig = Field(default_factory=lambda: ReplicasConfig())
    autoscaling: dict[str, float] | None = Field(
        None,
        description="Between replicas.min and max, scale by tokens: what one replica can do, the targets, the delays, "
        "by the names of autoscaling/settings.py. Default: by replicas.target_ongoing_requests.",
    )
    max_batch_size: int = Field(16, ge=1, description="Sequences that one replica decodes together.")
    max_queued_requests: int = Field(64, ge=0, description="Requests that may wait for each replica.")
    max_context_tokens: int | None = Field(
        None, ge=16, description="Prompt and output together. Default: the checkpoint's, at most 32768."
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Most output of a request. Default: context.")
    kv_cache_tokens: int | None = Field(
        None,
        ge=16,
        description="Tokens that a replica's KV cache holds. Default: 8192 a sequence, fewer if memory is short.",
    )
    prefill_tokens: int | None = Field(
        None,
        ge=16,
        le=65536,
        description="Most prompt tokens that one step computes; fewer take less memory. An image is never split. "
        "Default: 512, with vLLM 4096.",
    )
    prefix_cache: bool = Field(True, description="Compute what prompts begin alike with only once.")
    num_threads: int | None = Field(
        None, ge=1, description="CPU threads of the engine. Default: half the machine's logical cores."
    )
    num_cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves for a replica.")
    num_gpus: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica, all its ranks together.")
    node_labels: dict[str, str] = Field(
        default_factory=dict, description="Labels that Ray nodes must have for a replica. Default: any node."
    )
    tensor_parallel: int = Field(1, ge=1, description="vLLM: ranks that share each layer of a replica.")
    expert_ranks: int = Field(
        1,
        ge=1,
        description="Native: ranks that share a replica's experts. Each answers requests of its own with its part of "
        "max_batch_size, max_queued_requests, kv_cache_tokens, num_cpus and num_gpus.",
    )
    expert_copies: int = Field(
        0, ge=0, description="Native: experts that each of expert_ranks holds besides its share: those most asked for."
    )
    rebalance_passes: int = Field(
        2000, ge=1, description="Native: passes after which expert_copies are chosen anew, from what was asked for."
    )
    rank_timeout_s: float = Field(
        20,
        ge=2,
        description="Native: a rank that does not answer the others for so long is lost, and its gang with it.",
    )
    expert_parallel: bool = Field(False, description="vLLM: each rank holds whole experts, not a part of every one.")
    quantization: Literal["fp8_per_channel", "int8_per_channel_weight_only"] | None = Field(
        None, description="vLLM: quantise at load; int8 takes only experts. Default: as the checkpoint stores it."
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field("auto", description="vLLM: keys and values in memory.")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="vLLM: the share of a GPU it may fill.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Weights in memory; auto: as stored. A CPU without bfloat16 instructions computes in float32.",
    )
    weights: Literal["auto", "int8", "int4"] = Field(
        "auto", description="Quantise the decoder at load. Default: as the checkpoint stores it, float or quantised."
    )
    weight_group_size: Literal[32, 64, 128, 256] = Field(64, description="Weights that share an int4 scale.")
    memory_map_tables: bool = Field(
        True, description="Leave embedding tables in their file and read the rows of tokens in use (CPU)."
    )
    cost: float | None = Field(None, ge=0, description="Units per 1,000 tokens. Default: active parameters, billions.")
    echo_delay_ms: float = Field(0, ge=0, description="Echo engine only: milliseconds between tokens.")
    vllm: VllmConfig = Field(default_factory=lambda: VllmConfig(), description="vLLM engine only.")

    @model_validator(mode="after")
    def _scales(self) -> VariantConfig:
        if self.autoscaling is None:
            return self
        if self.replicas.min == self.replicas.max:
            raise ValueError(f"autoscaling: replicas.min and replicas.max are both {self.replicas.max}; raise max")
        try:
            self.policy_settings()
        except SettingsError as error:
            raise ValueError(f"autoscaling.{error}") from error
        return self

    def policy_settings(self) -> PolicySettings:
        """Of the policy that scales by tokens. Raises SettingsError."""
        bounds = {"min_replicas": self.replicas.min, "max_replicas": self.replicas.max}
        return settings_of({"sequences": self.max_batch_size, **(self.autoscaling or {})}, **bounds)

    @model_validator(mode="after")
    def _fits_its_engine(self) -> VariantConfig:
        if self.engine != "vllm" and self.vllm != VllmConfig():
            raise ValueError(f"vllm: only the vLLM engine reads it, and engine is {self.engine}")
        return self

    @model_validator(mode="after")
    def _ranks(self) -> VariantConfig:
        if self.expert_ranks == 1:
            if self.expert_copies:
                raise ValueError("expert_copies: there is one rank, which has all experts; set expert_ranks too")
            return self
        if self.expert_copies and self.weights != "auto":
            raise ValueError(
                f"expert_copies: {self.weights} experts cannot be moved; leave weights at auto, or copies at 0"
            )
        if self.engine != "native":
            raise ValueError(f"expert_ranks: the {self.engine} engine has none; only native does")
        if self.num_cpus == 0 and self.num_gpus == 0:
            raise ValueError(f"num_cpus: 0 for {self.expert_ranks} expert_ranks; each needs a bundle of its own")
        if self.num_gpus not in (0, self.expert_ranks):
            raise ValueError(
                f"num_gpus: {self.num_gpus:g} GPUs for {self.expert_ranks} expert_ranks; "
                f"use {self.expert_ranks}, one for each, or 0 to run on CPUs"
            )
        return self


class CallerConfig(_Section):
    """What holds for one caller."""

    priority: Literal["interactive", "batch"] = Field(
        "interactive", description="Of its requests that do not say their own."
    )
    weight: float = Field(
        1.0, ge=0.001, le=1000, description="Its share of a busy variant, next to the other callers' weights."
    )
    concurrent_streams: int | None = Field(None, ge=0, description="Its own limit. Default: admission's; 0 is none.")
    tokens_per_minute: int | None = Field(None, ge=0, description="Its own limit. Default: admission's; 0 is none.")


class AdmissionConfig(_Section):
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


class LogsConfig(_Section):
    """The access log: a line for each call, without what it says."""

    format: Literal["json", "text", "off"] = Field("json", description="Of a line; off writes none.")
    file: str | None = Field(
        None, description="File on each gateway's node. Default: the gateway's output, in Ray's logs."
    )


class SizeClass(_Section):
    """A row of the size table: requests up to these limits prefer these variants."""

    name: str = Field(description="Shown to callers in the routing reason.")
    max_prompt_tokens: int | None = Field(None, ge=1, description="Prompt up to this. Default: any.")
    max_output_tokens: int | None = Field(None, ge=1, description="Output asked for up to this. Default: any.")
    thinking: bool | None = Field(None, description="Only with, or only without, thinking. Default: both.")
    prefer: list[str] = Field(min_length=1, description="Variants, best first.")


class RoutingPolicy(_Section):
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


class ClusterConfig(_Section):
    """The whole configuration."""

    family: str = Field(
        DEFAULT_FAMILY,
        description="pocket (trained), tiny (random), gemma-4, or a folder with one checkpoint folder a variant.",
    )
    gateway: GatewayConfig = Field(default_factory=lambda: GatewayConfig())
    sessions: SessionsConfig = Field(default_factory=lambda: SessionsConfig())
    answers: AnswersConfig = Field(default_factory=lambda: AnswersConfig())
    routing: RoutingPolicy = Field(default_factory=lambda: RoutingPolicy())
    admission: AdmissionConfig = Field(default_factory=lambda: AdmissionConfig())
    logs: LogsConfig = Field(default_factory=lambda: LogsConfig())
    traces: TracesConfig = Field(default_factory=lambda: TracesConfig())
    kubernetes: KubernetesConfig = Field(
        default_factory=lambda: KubernetesConfig(), description="Only `gemma-cluster k8s render` reads it."
    )
    variants: dict[str, VariantConfig] = Field(
        default_factory=lambda: {name: VariantConfig() for name in VARIANT_NAMES},
        description="Variants to serve, smallest first.",
    )

    @model_validator(mode="after")
    def _complete(self) -> ClusterConfig:
        if not self.variants:
            raise ValueError("variants: name at least one of " + ", ".join(VARIANT_NAMES))
        for name in self.variants:
            if name in _RESERVED_NAMES or not _VARIANT_NAME.fullmatch(name):
                rule = "use letters, digits, '-', '_' and '.', and neither " + " nor ".join(sorted(_RESERVED_NAMES))
                raise ValueError(f"variants.{name}: cannot be a variant's name; {rule}")
            self.checkpoint_of(name)
        for row in self.routing.size_classes:
            # The family's own names may stand there though they are not served, as in the default table.
            for name in {*row.prefer} - {*self.variants, *VARIANT_NAMES}:
                raise ValueError(f"routing.size_classes: {row.name} prefers {name!r}, which is no variant")
        return self

    def checkpoint_of(self, variant: str) -> str:
        """Where the variant's checkpoint is. Raises ValueError when neither variant nor family says."""
        explicit = self.variants[variant].checkpoint
        if explicit is not None:
            return explicit
        if self.family in _FAMILIES:
            if variant not in _FAMILIES[self.family]:
                raise ValueError(f"variants.{variant}: the {self.family} family has no such variant; give a checkpoint")
            return _FAMILIES[self.family][variant]
        return str(Path(self.family) / variant)

    @property
    def redis_url(self) -> str | None:
        """The Redis to use, from the file or $REDIS_URL. Raises ConfigError when that is no URL of Redis."""
        try:
            return self.sessions.redis_url or _checked_redis_url(os.environ.get("REDIS_URL"))
        except ValueError as error:
            raise ConfigError(f"REDIS_URL: {error}") from error


def _checked_redis_url(url: str | None) -> str | None:
    """The URL, None for an empty one. Raises ValueError."""
    if not url:
        return None
    RedisUrl.parse(url)
    return url


def load_config(path: str | Path | None) -> ClusterConfig:
    """Reads a YAML file; None gives the defaults. Raises ConfigError that names the field."""
    if path is None:
        return ClusterConfig()
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        return parse_config({} if data is None else data)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(data: Any) -> ClusterConfig:
    """Validates already-read data. Raises ConfigError that names each bad field."""
    try:
        return ClusterConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_problem, error.errors()))) from error


def _problem(item: ErrorDetails) -> str:
    """One line; our own validators name the field in their message."""
    message = item["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, item["loc"]))
    return message if not where and item["type"] == "value_error" else f"{where or 'config'}: {message}"
