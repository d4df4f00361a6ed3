"""A Grafana dashboard of what the cluster measures, as a ConfigMap that Grafana's sidecar picks up."""

from __future__ import annotations

import json
from typing import Any

from cluster import metrics
from cluster.config import ClusterConfig
from cluster.k8s.monitoring import quantile, rate
from cluster.k8s.names import NAME, metadata
from cluster.metrics import MODEL, Metric

# Whoever adds one renders the manifests again.
SHOWN = (
    metrics.REQUEST_DURATION,
    metrics.TIME_TO_FIRST_TOKEN,
    metrics.TIME_PER_OUTPUT_TOKEN,
    metrics.TOKEN_USAGE,
    metrics.QUEUE_TIME,
    metrics.QUEUED,
    metrics.ADMISSION_TIME,
    metrics.PROMPT_TOKENS,
    metrics.OUTPUT_TOKENS,
    metrics.CACHED_TOKENS,
    metrics.ROUTED,
    metrics.REPLICA_CHOICES,
    metrics.REJECTED,
    metrics.UNCOUNTED,
    metrics.RESUMES,
    metrics.MIGRATIONS,
    metrics.RUNNING,
    metrics.WAITING,
    metrics.KV_TOKENS,
    metrics.KV_CAPACITY,
    metrics.REPLICAS_NEEDED,
    metrics.REPLICAS_TARGET,
    metrics.SCALINGS,
)
_UNITS = {"s": "s", "{token}": "short", "{request}": "short", "{replica}": "short"}
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
# What the series of a panel are told apart by, where that is not the variant alone.
_BY = {
    metrics.QUEUED: f"{MODEL}, {metrics.PRIORITY}",
    metrics.ADMISSION_TIME: f"{MODEL}, {metrics.PRIORITY}",
    metrics.ROUTED: f"{MODEL}, {metrics.REASON}",
    metrics.REPLICA_CHOICES: f"{MODEL}, {metrics.REASON}",
    metrics.MIGRATIONS: f"{MODEL}, {metrics.REASON}",
    metrics.REJECTED: metrics.REASON,
    metrics.RESUMES: metrics.REASON,
    metrics.UNCOUNTED: "",
    metrics.REPLICAS_NEEDED: metrics.DEPLOYMENT,
    metrics.REPLICAS_TARGET: metrics.DEPLOYMENT,
    metrics.SCALINGS: f"{metrics.DEPLOYMENT}, {metrics.DIRECTION}, {metrics.REASON}",
}


def dashboard(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file."""
    described = metadata(f"{NAME}-dashboard", config.kubernetes.namespace, "monitoring")
    described["labels"]["grafana_dashboard"] = "1"
    content = json.dumps(_dashboard(), indent=2)
    return {
        "monitoring/dashboard.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": described,
            "data": {"gemma-cluster.json": f"{content}\n"},
        }
    }


def _dashboard() -> dict[str, Any]:
    return {
        "uid": NAME,
        "title": "Gemma cluster",
        "tags": [NAME],
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "schemaVersion": 39,
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, metric) for number, metric in enumerate(SHOWN)],
    }


def _panel(number: int, metric: Metric) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    unit = _UNITS[metric.unit]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": metric.description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": letter, "expr": expression, "legendFormat": legend}
            for letter, (expression, legend) in zip("ABC", _queries(metric), strict=False)
        ],
    }


def _queries(metric: Metric) -> list[tuple[str, str]]:
    by = _BY.get(metric, MODEL)
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", ")) if by else "all"
    if metric.buckets:
        return [(quantile(metric, share, by), f"p{share * 100:g} {legend}") for share in (0.5, 0.95, 0.99)]
    series = metric.exported_name if metric.is_gauge else rate(metric)
    return [(f"sum by ({by}) ({series})", legend)]
