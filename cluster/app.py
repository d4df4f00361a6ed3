"""Builds the Serve application: the only place that calls .bind().

serve run cluster.app:build_app config=FILE
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from autoscaling.settings import PolicySettings
from cluster.config import (
    ClusterConfig,
    ConfigError,
    GatewayConfig,
    TracesConfig,
    VariantConfig,
    load_config,
    parse_config,
)
from cluster.engines.vllm.parallelism import placement_bundles
from cluster.gateway.deployment import Gateway
from cluster.placement.request_router import PrefixRouter
from cluster.scaling import POLICY
from cluster.tracing import ENDPOINT, SAMPLER, SAMPLER_ARGUMENT
from cluster.variants.dense import DenseVariant
from cluster.variants.expert_parallel import ExpertParallelVariant, placement

APP_NAME = "gemma-cluster"
GATEWAY_NAME = "gateway"
# Keeps gRPC's own threads off the way of a message: whoever waits for it polls the sockets. A release of gRPC that no
# longer knows these names says so in the log, and goes the longer way.
GRPC_EXPERIMENTS = "-event_engine_client,-event_engine_listener"
_REPORT_PERIOD_S = 2.0
# How often Serve looks whether a process that leaves has requests, and what it has left to close once it has none.
_LEAVE_POLL_S, _LAST_WORDS_S = 0.2, 5.0


def build_app(args: dict[str, Any]) -> Application:
    """The application that `config` describes: a file's path, its content as a mapping, or nothing for the defaults.

    `app_name` is the name it will be deployed under ("default" where Serve chooses).
    """
    source = args.get("config")
    config = parse_config(source) if isinstance(source, dict) else load_config(source)
    return build(config, str(args.get("app_name", "default")))


def build(config: ClusterConfig, app_name: str) -> Application:
    """Binds a deployment for each variant, and the gateway over them. Raises ConfigError without a Redis."""
    if config.redis_url is None:
        raise ConfigError("sessions.redis_url: set it, or $REDIS_URL, to a Redis that every node reaches")
    variants = {name: _variant(config, name) for name in config.variants}
    deployment = serve.deployment(
        name=GATEWAY_NAME,
        **_gateway_scaling(config.gateway),
        max_replicas_per_node=1,
        max_ongoing_requests=config.gateway.max_concurrent_requests,
        **_leave(config.gateway.drain_notice_s + config.gateway.drain_grace_s),
        ray_actor_options={
            **_actor_options(config, config.gateway.num_cpus, num_gpus=0),
            **_on_nodes(config.gateway.node_labels),
        },
    )
    return deployment(Gateway).bind(config.model_dump(), config.redis_url, app_name, variants)


def _variant(config: ClusterConfig, name: str) -> Application:
    variant = config.variants[name]
    is_spread = variant.expert_ranks > 1
    deployment = serve.deployment(
        name=name,
        max_ongoing_requests=variant.max_batch_size + variant.max_queued_requests,
        # The gateway's gate bounds them. Serve would count those that it has not placed yet, of all replicas together,
        # and refuse some of many that come at once though replicas have room.
        max_queued_requests=-1,
        request_router_config=_placement(variant),
        **_leave(variant.replicas.drain_grace_s),
        **_resources(config, variant),
        **_scaling(variant),
    )
    return deployment(ExpertParallelVariant if is_spread else DenseVariant).bind(
        name, variant.model_dump(), config.checkpoint_of(name)
    )


def _placement(variant: VariantConfig) -> RequestRouterConfig:
    options: dict[str, Any] = {
        "request_router_class": PrefixRouter,
        "request_router_kwargs": {
            "drain_grace_s": variant.replicas.drain_grace_s,
            "has_prefix_cache": variant.prefix_cache,
            "silence_s": variant.replicas.silence_s,
        },
        "request_routing_stats_period_s": _REPORT_PERIOD_S,
    }
    return RequestRouterConfig(**options)


def _resources(config: ClusterConfig, variant: VariantConfig) -> dict[str, Any]:
    """Of the replica alone, or of a placement group for the ranks that compute with it."""
    if variant.expert_ranks > 1:
        return {
            "ray_actor_options": _actor_options(config, num_cpus=0, num_gpus=0),
            **placement(variant),
            **_bundles_on_nodes(variant.node_labels),
        }
    bundles = placement_bundles(variant)
    if bundles is None:
        options = _actor_options(config, variant.num_cpus, variant.num_gpus)
        return {"ray_actor_options": options | _on_nodes(variant.node_labels)}
    return {
        "ray_actor_options": _actor_options(config, variant.num_cpus, num_gpus=0),
        "placement_group_bundles": bundles,
        "placement_group_strategy": "PACK",
        **_bundles_on_nodes(variant.node_labels),
    }


def _on_nodes(labels: dict[str, str]) -> dict[str, Any]:
    return {"label_selector": labels} if labels else {}


def _bundles_on_nodes(labels: dict[str, str]) -> dict[str, Any]:
    """One selector stands for all bundles."""
    return {"placement_group_bundle_label_selector": [labels]} if labels else {}


def _scaling(variant: VariantConfig) -> dict[str, Any]:
    replicas = variant.replicas
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    bounds = {"min_replicas": replicas.min, "max_replicas": replicas.max}
    if variant.autoscaling is None:
        return {"autoscaling_config": bounds | {"target_ongoing_requests": replicas.target_ongoing_requests}}
    return _by_our_policy(variant.policy_settings())


def _gateway_scaling(gateway: GatewayConfig) -> dict[str, Any]:
    settings = gateway.policy_settings()
    return {"num_replicas": gateway.replicas} if settings is None else _by_our_policy(settings)


def _by_our_policy(settings: PolicySettings) -> dict[str, Any]:
    policy = {"policy_function": POLICY, "policy_kwargs": asdict(settings)}
    bounds = {"min_replicas": settings.min_replicas, "max_replicas": settings.max_replicas}
    # The policy has delays of its own.
    no_delays = dict.fromkeys(("upscale_delay_s", "downscale_delay_s", "downscale_to_zero_delay_s"), 0.0)
    return {"autoscaling_config": bounds | no_delays | {"policy": policy}}


def _leave(longest_s: float) -> dict[str, Any]:
    """Serve waits until what runs has ended, or so long, then kills the process."""
    return {"graceful_shutdown_timeout_s": longest_s + _LAST_WORDS_S, "graceful_shutdown_wait_loop_s": _LEAVE_POLL_S}


def _actor_options(config: ClusterConfig, num_cpus: float, num_gpus: float) -> dict[str, Any]:
    """Serve reads its settings from the environment of each actor."""
    # A replica gets the new turn and the session's media in one message.
    replica_mb = min(2047, config.gateway.max_message_mb + config.sessions.max_session_mb + 1)
    env_vars = {
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(replica_mb * 1024 * 1024),
        # Handles and user code share one event loop: a message crosses no threads on its way.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,
    }
    env_vars |= _tracing(config.traces)
    return {"num_cpus": num_cpus, "num_gpus": num_gpus, "runtime_env": {"env_vars": env_vars}}


def _tracing(traces: TracesConfig) -> dict[str, str]:
    endpoint = traces.endpoint or os.environ.get(ENDPOINT)
    if not endpoint:
        return {}
    return {ENDPOINT: endpoint, SAMPLER: "parentbased_traceidratio", SAMPLER_ARGUMENT: str(traces.sample_ratio)}
