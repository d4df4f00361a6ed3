"""A plan for programs to read."""

from __future__ import annotations

import json
from typing import Any

from cluster.planning.layout import Layout
from cluster.planning.paste import config_yaml
from cluster.planning.plan import Plan, alternatives


def json_report(plan: Plan) -> str:
    """One JSON object; sizes are bytes on one GPU."""
    question, chosen = plan.question, plan.chosen
    report = {
        "gpu": question.gpu.name,
        "variant": question.variant,
        "engine": question.engine,
        "context_tokens": question.context,
        "quantization": question.quantization.name,
        "kv_cache": question.kv,
        "fits": chosen is not None,
        "gpus_per_replica": None if chosen is None else chosen.ranks,
        "replicas": plan.replicas,
        "layouts": [_layout(layout) for layout in plan.tried],
        "alternatives": [] if chosen is not None else alternatives(question),
        "config": None if chosen is None else config_yaml(plan),
    }
    return json.dumps(report, indent=2)


def _layout(layout: Layout) -> dict[str, Any]:
    return {
        "gpus": layout.ranks,
        "kv_owners": layout.owners,
        "fits": layout.fits,
        "kv_tokens": layout.kv_tokens,
        "sequences": layout.sequences,
        "missing_bytes": layout.missing_bytes,
        "usable_bytes": layout.usable_bytes,
        "weight_bytes": layout.weight_bytes,
        "activation_bytes": layout.activation_bytes,
        "cuda_graph_bytes": layout.graph_bytes,
        "runtime_bytes": layout.runtime_bytes,
        "reserve_bytes": layout.reserve_bytes,
        "kv_cache_bytes": layout.kv_bytes,
        "first_sequence_bytes": layout.first_bytes,
        "further_sequence_bytes": layout.next_bytes,
    }
