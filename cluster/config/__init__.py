"""The configuration file: YAML through pydantic, every field described, validated before anything starts.

A file for each section, and `cluster` for the whole.
"""

from cluster.config.admission import CALLER_NAME, CALLER_NAME_RULE, AdmissionConfig, CallerConfig
from cluster.config.answers import AnswersConfig
from cluster.config.cluster import DEFAULT_FAMILY, VARIANT_NAMES, ClusterConfig
from cluster.config.file import load_config, parse_config
from cluster.config.gateway import GatewayConfig, TlsConfig
from cluster.config.observing import LogsConfig, TracesConfig
from cluster.config.routing import RoutingPolicy, SizeClass
from cluster.config.section import ConfigError
from cluster.config.sessions import SessionsConfig
from cluster.config.variant import ReplicasConfig, VariantConfig
from cluster.config.vllm import VllmConfig

__all__ = [
    "CALLER_NAME",
    "CALLER_NAME_RULE",
    "DEFAULT_FAMILY",
    "VARIANT_NAMES",
    "AdmissionConfig",
    "AnswersConfig",
    "CallerConfig",
    "ClusterConfig",
    "ConfigError",
    "GatewayConfig",
    "LogsConfig",
    "ReplicasConfig",
    "RoutingPolicy",
    "SessionsConfig",
    "SizeClass",
    "TlsConfig",
    "TracesConfig",
    "VariantConfig",
    "VllmConfig",
    "load_config",
    "parse_config",
]
