"""The table of metrics: names by the rules, nothing in it that is not recorded, the README in step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster import metrics
from cluster.metrics import METRICS, Metric, metrics_table

ROOT = Path(__file__).parents[2]
_UNITS = {"s": "_seconds", "{token}": "", "{request}": "", "{replica}": ""}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric: Metric) -> None:
    for name in (metric.name, *metric.attributes):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert metric.name.endswith(_UNITS[metric.unit])
    # Ray adds it; the others are suffixes that Prometheus gives the series of a histogram.
    assert not re.search(r"_(total|count|sum|bucket)$", metric.name)
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_each_metric_stands_in_the_table_once_and_is_recorded() -> None:
    defined = {name: item for name, item in vars(metrics).items() if isinstance(item, Metric)}
    assert sorted(item.name for item in defined.values()) == sorted(item.name for item in METRICS)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cluster").rglob("*.py"))
    assert [name for name in defined if not re.search(rf"\b{name}\.record\(", source)] == []


def test_the_readme_has_the_table() -> None:
    assert metrics_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_value_for_each_attribute_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        metrics.QUEUE_TIME.record(1.0)
