"""A replica's sampling message as engines take it."""

from __future__ import annotations

import json
from typing import Any

from cluster.codec.structs import plain
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaSampling
from protos.gemmacluster.v1 import generation_pb2


def sampling_params(sampling: ReplicaSampling) -> SamplingParams:
    """The same choices."""
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k or None,
        top_p=sampling.top_p if sampling.top_p < 1 else None,
        seed=sampling.seed if sampling.HasField("seed") else None,
        stop=tuple(sampling.stop),
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias=dict(sampling.logit_bias),
        logprobs=sampling.logprobs if sampling.HasField("logprobs") else None,
        response_format=_response_format(sampling.response_format),
    )


def _response_format(message: generation_pb2.ResponseFormat) -> ResponseFormat | None:
    kind = message.WhichOneof("format")
    if kind == "json_schema":
        return ResponseFormat(kind, json.dumps(_ordered(plain(message.json_schema)), ensure_ascii=False))
    if kind == "json_object":
        return ResponseFormat(kind)
    if kind == "regex":
        return ResponseFormat(kind, message.regex)
    if kind == "choice":
        return ResponseFormat(kind, json.dumps(list(message.choice.texts), ensure_ascii=False))
    return None


def _ordered(schema: Any) -> Any:
    """An answer's properties come in the order that the schema lists them, which a Struct does not keep: they follow
    "required", which is a list, and then their names."""
    if isinstance(schema, list):
        return [_ordered(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    ordered = {name: _ordered(schema[name]) for name in sorted(schema)}
    properties, required = ordered.get("properties"), ordered.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        first = [name for name in required if isinstance(name, str) and name in properties]
        ordered["properties"] = {name: properties[name] for name in dict.fromkeys([*first, *properties])}
    return ordered
