"""What Prometheus reads, and when it calls somebody."""

from __future__ import annotations

from typing import Any

from cluster import metrics
from cluster.config import ClusterConfig
from cluster.k8s.names import NAME, PART_OF, metadata

_WINDOW = "5m"


def monitoring(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file; the operator of Prometheus must be there for them."""
    return {
        "monitoring/pod-monitor.yaml": _pod_monitor(config),
        "monitoring/alerts.yaml": _alerts(config),
    }


def _pod_monitor(config: ClusterConfig) -> dict[str, Any]:
    selector = {"matchLabels": {PART_OF: NAME, "ray.io/is-ray-node": "yes"}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(NAME, config.kubernetes.namespace, "monitoring"),
        "spec": {
            "selector": selector,
            "podMetricsEndpoints": [{"port": "metrics", "interval": "15s"}],
            "podTargetLabels": ["ray.io/group", "ray.io/cluster"],
        },
    }


def _alerts(config: ClusterConfig) -> dict[str, Any]:
    rules = [
        _rule(
            "GemmaClusterDown", f"absent({metrics.KV_CAPACITY.exported_name})", "5m", "critical", "No replica reports."
        ),
        _rule(
            "GemmaClusterFailingCalls", _failing_share(), "10m", "critical", "More than 5 % of calls fail on our side."
        ),
        _rule(
            "GemmaClusterSlowFirstToken",
            f"{quantile(metrics.TIME_TO_FIRST_TOKEN, 0.95, metrics.MODEL)} > 5",
            "10m",
            "warning",
            f"{_label(metrics.MODEL)} takes more than 5 s to its first token, for one call in twenty.",
        ),
        _rule(
            "GemmaClusterQueueing",
            f"sum by ({metrics.MODEL}) ({metrics.QUEUED.exported_name}) > "
            f"sum by ({metrics.MODEL}) ({metrics.RUNNING.exported_name}) > 0",
            "10m",
            "warning",
            f"More requests wait for {_label(metrics.MODEL)} than run on it: raise replicas.max.",
        ),
        _rule("GemmaClusterCacheFull", _cache_share(), "15m", "warning", "A KV cache is full: answers wait for room."),
        _rule(
            "GemmaClusterRejecting",
            f"sum by ({metrics.REASON}) ({rate(metrics.REJECTED)}) > 1",
            "10m",
            "warning",
            f"More than one call a second is refused: {_label(metrics.REASON)}.",
        ),
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(NAME, config.kubernetes.namespace, "monitoring"),
        "spec": {"groups": [{"name": NAME, "rules": rules}]},
    }


def rate(metric: metrics.Metric, labels: str = "") -> str:
    """Of a counter, or of a histogram's observations, by second."""
    series = f"{metric.exported_name}_count" if metric.buckets else metric.exported_name
    return f"rate({series}{labels}[{_WINDOW}])"


def quantile(metric: metrics.Metric, share: float, by: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric.exported_name}_bucket[{_WINDOW}])))"


def _failing_share() -> str:
    """Codes for which the cluster is to blame, of all."""
    failed = f'{{{metrics.STATUS}=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS"}}'
    calls = metrics.REQUEST_DURATION
    return f"sum({rate(calls, failed)}) / sum({rate(calls)}) > 0.05"


def _cache_share() -> str:
    return f"{metrics.KV_TOKENS.exported_name} / ({metrics.KV_CAPACITY.exported_name} > 0) > 0.95"


def _label(name: str) -> str:
    """As alerts say it."""
    return f"{{{{ $labels.{name} }}}}"


def _rule(name: str, expression: str, lasting: str, severity: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
