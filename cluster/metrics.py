"""Every metric of the cluster, in one table; Ray's own exporter serves them, as Prometheus text, on each node.

Names are those of OpenTelemetry's semantic conventions for generative AI where they have one, spelled for Prometheus:
dots are underscores, the unit stands at the end. Ray puts `ray_` before a name and `_total` after a counter's. It sends
a histogram's buckets alone, and makes the sum of their middles: exact totals are those of counters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ray.util import metrics as ray_metrics

from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaLoadReport

# The conventions' own bounds, in seconds, with finer ones below for what small models do on a fast machine.
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
# Powers of four, as in the conventions, up to the longest context of the family.
_TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0)

MODEL, OPERATION, ERROR = "gen_ai_response_model", "gen_ai_operation_name", "error_type"
STATUS, TOKEN_TYPE = "rpc_response_status_code", "gen_ai_token_type"
MODALITY, REASON, REPLICA, PRIORITY = "modality", "reason", "replica", "priority"
DEPLOYMENT, DIRECTION = "deployment", "direction"


@dataclass(frozen=True, eq=False)
class Metric:
    """What is measured. `buckets` makes it a histogram, `is_gauge` a gauge; else it is a counter.

    `unit` is OpenTelemetry's (UCUM): s, {token}, {request}, {replica}. `attributes` are the labels, in order.
    """

    name: str
    unit: str
    description: str
    attributes: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    is_gauge: bool = False

    @property
    def kind(self) -> str:
        """Prometheus' word for it."""
        return "histogram" if self.buckets else "gauge" if self.is_gauge else "counter"

    @property
    def exported_name(self) -> str:
        """As Prometheus sees it; a histogram's series add _bucket, _sum and _count."""
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"

    def record(self, value: float, *attributes: str) -> None:
        """Adds to a counter, sets a gauge, observes for a histogram. `attributes` are values in the table's order."""
        tags = dict(zip(self.attributes, attributes, strict=True))
        recorder = _recorder(self)
        if isinstance(recorder, ray_metrics.Histogram):
            recorder.observe(value, tags)
        elif isinstance(recorder, ray_metrics.Gauge):
            recorder.set(value, tags)
        elif value > 0:  # Ray refuses to add nothing
            recorder.inc(value, tags)


@cache
def _recorder(metric: Metric) -> ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram:
    """Made at the first use, in the process that records."""
    if metric.buckets:
        return ray_metrics.Histogram(metric.name, metric.description, list(metric.buckets), metric.attributes)
    kind = ray_metrics.Gauge if metric.is_gauge else ray_metrics.Counter
    return kind(metric.name, metric.description, metric.attributes)


REQUEST_DURATION = Metric(
    "gen_ai_server_request_duration_seconds",
    "s",
    "From a call's arrival at the gateway to its end, however it ends",
    (MODEL, OPERATION, ERROR, STATUS),
    _DURATION_S,
)
TIME_TO_FIRST_TOKEN = Metric(
    "gen_ai_server_time_to_first_token_seconds",
    "s",
    "From a call's arrival to the first message of its answer",
    (MODEL, OPERATION),
    _FIRST_TOKEN_S,
)
TIME_PER_OUTPUT_TOKEN = Metric(
    "gen_ai_server_time_per_output_token_seconds",
    "s",
    "Mean time between the tokens of an answer, after the first message",
    (MODEL, OPERATION),
    _EACH_TOKEN_S,
)
TOKEN_USAGE = Metric(
    "gen_ai_client_token_usage",
    "{token}",
    "Tokens of an answered call, input by modality",
    (MODEL, OPERATION, TOKEN_TYPE, MODALITY),
    _TOKENS,
)
QUEUE_TIME = Metric(
    "gemma_cluster_queue_time_seconds",
    "s",
    "From a call's arrival until a replica took it",
    (MODEL,),
    _FIRST_TOKEN_S,
)
ADMISSION_TIME = Metric(
    "gemma_cluster_admission_time_seconds",
    "s",
    "From a call's choice of variant until its turn",
    (MODEL, PRIORITY),
    _FIRST_TOKEN_S,
)
QUEUED = Metric(
    "gemma_cluster_queued_requests", "{request}", "Calls that wait for their turn", (MODEL, PRIORITY), is_gauge=True
)
UNCOUNTED = Metric(
    "gemma_cluster_uncounted_requests",
    "{request}",
    "Calls of limited callers that went through because Redis did not answer",
    (),
)
PROMPT_TOKENS = Metric(
    "gemma_cluster_prompt_tokens", "{token}", "Prompt tokens of answers begun, cached or not", (MODEL, MODALITY)
)
OUTPUT_TOKENS = Metric("gemma_cluster_output_tokens", "{token}", "Tokens of answers that ended well", (MODEL,))
CACHED_TOKENS = Metric(
    "gemma_cluster_prefix_cache_hit_tokens", "{token}", "Prompt tokens that the prefix cache held", (MODEL,)
)
ROUTED = Metric(
    "gemma_cluster_routing_decisions", "{request}", "Calls given to a variant, by each reason for it", (MODEL, REASON)
)
REPLICA_CHOICES = Metric(
    "gemma_cluster_replica_choices", "{request}", "Requests given to a replica, by why it was chosen", (MODEL, REASON)
)
REJECTED = Metric(
    "gemma_cluster_rejected_requests", "{request}", "Calls refused before their answer began, by reason", (REASON,)
)
RESUMES = Metric(
    "gemma_cluster_resumes",
    "{request}",
    "Answers taken up again, by where they were: live at this gateway, kept in Redis, or an orphan",
    (REASON,),
)
MIGRATIONS = Metric(
    "gemma_cluster_migrations",
    "{request}",
    "Requests that must go on on another replica, by why: theirs was lost, leaves, or gives no sign of life",
    (MODEL, REASON),
)
RUNNING = Metric(
    "gemma_cluster_running_requests", "{request}", "Requests in a replica's batch", (MODEL, REPLICA), is_gauge=True
)
WAITING = Metric(
    "gemma_cluster_waiting_requests", "{request}", "Requests waiting in a replica", (MODEL, REPLICA), is_gauge=True
)
KV_TOKENS = Metric(
    "gemma_cluster_kv_cache_tokens", "{token}", "Tokens in a replica's KV cache", (MODEL, REPLICA), is_gauge=True
)
KV_CAPACITY = Metric(
    "gemma_cluster_kv_cache_capacity_tokens",
    "{token}",
    "Tokens that a replica's KV cache can hold",
    (MODEL, REPLICA),
    is_gauge=True,
)
REPLICAS_NEEDED = Metric(
    "gemma_cluster_needed_replicas",
    "{replica}",
    "Replicas that a deployment scaled by tokens needs, before delays, steps and bounds",
    (DEPLOYMENT,),
    is_gauge=True,
)
REPLICAS_TARGET = Metric(
    "gemma_cluster_target_replicas",
    "{replica}",
    "Replicas that a deployment scaled by tokens is to have",
    (DEPLOYMENT,),
    is_gauge=True,
)
SCALINGS = Metric(
    "gemma_cluster_scalings",
    "{replica}",
    "Changes of that target, up or down, by the reason: of which the controller's log has the numbers",
    (DEPLOYMENT, DIRECTION, REASON),
)
METRICS = (
    REQUEST_DURATION,
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
    TOKEN_USAGE,
    QUEUE_TIME,
    ADMISSION_TIME,
    QUEUED,
    UNCOUNTED,
    PROMPT_TOKENS,
    OUTPUT_TOKENS,
    CACHED_TOKENS,
    ROUTED,
    REPLICA_CHOICES,
    REJECTED,
    RESUMES,
    MIGRATIONS,
    RUNNING,
    WAITING,
    KV_TOKENS,
    KV_CAPACITY,
    REPLICAS_NEEDED,
    REPLICAS_TARGET,
    SCALINGS,
)


def record_load(variant: str, report: ReplicaLoadReport) -> None:
    """How busy a replica is; for the health checks, which Serve makes as often as Ray exports."""
    labels = (variant, report.replica_id)
    RUNNING.record(report.running, *labels)
    WAITING.record(report.waiting, *labels)
    KV_TOKENS.record(report.kv_tokens, *labels)
    KV_CAPACITY.record(report.kv_capacity_tokens, *labels)


def metrics_table(metrics: Iterable[Metric] = METRICS) -> str:
    """The README's table, in Markdown."""
    rows = [f"| `{item.exported_name}` | {item.kind} | {item.unit} | {item.description} |" for item in metrics]
    return "\n".join(["| metric | kind | unit | what |", "|---|---|---|---|", *rows])
