"""Schemas of every kind in the manifests, strict: a field that Kubernetes or an operator does not know is an error."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator
from referencing import Registry, Resource

_KUBERNETES = files("kubernetes_validate") / "kubernetes-json-schema/v1.37.0-local-strict"
_RAY_SERVICE = Path(__file__).parent / "crds/rayservice-v1.json.gz"
_OPERATORS: dict[str, Any] = {
    "PodMonitor": prometheus_operator.PodMonitor,
    "PrometheusRule": prometheus_operator.PrometheusRule,
    "Certificate": cert_manager.Certificate,
    "Issuer": cert_manager.Issuer,
}


def errors(manifest: dict[str, Any]) -> list[str]:
    """Everything that is wrong with an object, each with its place."""
    return _errors(_validator(manifest["apiVersion"], manifest["kind"]), manifest)


def pod_template_errors(template: dict[str, Any]) -> list[str]:
    """Against Kubernetes' own schema: an operator's may know fewer, and other, fields."""
    return _errors(_of_kubernetes("PodTemplateSpec"), template)


def _errors(validator: jsonschema.protocols.Validator, instance: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


@cache
def _validator(api_version: str, kind: str) -> jsonschema.protocols.Validator:
    group, _, version = api_version.rpartition("/")
    if group == "ray.io":
        assert (version, kind) == ("v1", "RayService")
        return jsonschema.Draft202012Validator(_strict(json.loads(gzip.decompress(_RAY_SERVICE.read_bytes()))))
    if kind in _OPERATORS:
        return jsonschema.Draft202012Validator(_strict(_OPERATORS[kind].model_json_schema(by_alias=True)))
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], version)))
    schema = json.loads((_KUBERNETES / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_registry())


@cache
def _of_kubernetes(definition: str) -> jsonschema.protocols.Validator:
    reference = {"$ref": f"{_definitions()['$id']}#/$defs/io.k8s.api.core.v1.{definition}"}
    return jsonschema.Draft202012Validator(reference, registry=_registry())


@cache
def _definitions() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_KUBERNETES / "_definitions.json").read_text())
    return content


@cache
def _registry() -> Registry[Any]:
    return Resource.from_contents(_definitions()) @ Registry()


def _strict(schema: Any) -> Any:
    """With `additionalProperties: false` wherever properties are named: an API server would drop what is not."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict
