"""The `kubernetes` section of the configuration: the hardware that `gemma-cluster k8s render` lays variants on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from cluster.config.section import Section

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


class PodCount(Section):
    """How many pods of a group; what is not said follows from the replicas of its variants."""

    min: int | None = Field(None, ge=0, description="Least pods. Default: what the variants' replicas.min take.")
    max: int | None = Field(None, ge=1, description="Most pods. Default: what the variants' replicas.max take.")


class WorkerGroup(Section):
    """Pods of one kind of hardware, each a Ray node, and the variants that run on them."""

    variants: list[str] = Field(min_length=1, description="Variants whose replicas run on these pods.")
    gpu: str | None = Field(None, description="Their GPU, as `gemma-cluster plan --gpu` names it. Default: none.")
    gpus: int = Field(0, ge=0, le=16, description="GPUs of a pod.")
    cpus: int = Field(ge=1, description="CPU cores of a pod.")
    memory_gib: int | None = Field(
        None, ge=1, description="Memory of a pod, GiB. Default, without GPUs: what one replica of each variant takes."
    )
    pods: PodCount = Field(default_factory=lambda: PodCount())
    node_selector: dict[str, str] = Field(default_factory=dict, description="Kubernetes labels of the nodes to use.")


class GatewayPods(Section):
    """Pods for the gateways, one for each of gateway.replicas."""

    cpus: int = Field(2, ge=1, description="CPU cores of a pod.")
    memory_gib: int = Field(4, ge=2, description="Memory of a pod, GiB.")


class HeadPod(Section):
    """The pod of Ray's head, where no replica runs."""

    cpus: int = Field(2, ge=1, description="CPU cores.")
    memory_gib: int = Field(8, ge=2, description="Memory, GiB.")


class Images(Section):
    """Container images, each with a tag or a digest."""

    cpu: str = Field("gemma-cluster:0.1.0-cpu", description="Head, gateways, and groups without GPUs.")
    cuda: str = Field("gemma-cluster:0.1.0-cuda", description="Groups with GPUs.")
    redis: str = Field("valkey/valkey:9.1.0", description="Valkey, or Redis, for sessions and for Ray's own state.")

    @field_validator("cpu", "cuda", "redis")
    @classmethod
    def _is_pinned(cls, image: str) -> str:
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            raise ValueError(f"{image!r} means another image tomorrow; give a tag other than latest, or a digest")
        return image


class ModelCache(Section):
    """The volume that keeps downloaded checkpoints, for all pods."""

    size_gib: int = Field(300, ge=1, description="Size, GiB. The whole family in bfloat16 takes 140.")
    access: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        "ReadWriteMany", description="ReadWriteOnce where all pods are on one node."
    )
    storage_class: str | None = Field(None, description="Storage class. Default: the cluster's.")


class RedisServers(Section):
    """The servers for sessions and for Ray's own state. Their password is in the Secret gemma-cluster-redis."""

    memory_mib: int = Field(2048, ge=64, description="Most memory that sessions may take, MiB.")
    storage_gib: int = Field(10, ge=1, description="Volume of each server, GiB.")
    external_sessions: bool = Field(
        False, description="Sessions are in a Redis that runs elsewhere, at `url` of the Secret."
    )
    external_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[6379],
        min_length=1,
        description="TCP ports of that Redis, and of its Sentinels, that gateways may connect to.",
    )
    insecure_password: str | None = Field(
        None,
        min_length=1,
        description="Written into the manifests; only to try things out. Default: you make the Secret.",
    )


class Certificates(Section):
    """mTLS for callers, with certificates that cert-manager makes and renews."""

    issuer: str | None = Field(
        None, description="ClusterIssuer of the gateways' and callers' certificates. Default: an authority of its own."
    )
    dns_names: list[str] = Field(
        default_factory=list, description="More names of the gateways, as of a load balancer, beside the Services'."
    )
    health_port: int = Field(50052, ge=1, le=65535, description="Port for probes, which have no certificate.")


class KubernetesConfig(Section):
    """What `gemma-cluster k8s render` reads beside the rest."""

    namespace: str = Field("gemma-cluster", description="Namespace of every object.")
    images: Images = Field(default_factory=lambda: Images())
    head: HeadPod = Field(default_factory=lambda: HeadPod())
    gateways: GatewayPods = Field(default_factory=lambda: GatewayPods())
    groups: dict[str, WorkerGroup] = Field(
        default_factory=dict, description="A group of pods for each kind of hardware, by name."
    )
    model_cache: ModelCache = Field(default_factory=lambda: ModelCache())
    redis: RedisServers = Field(default_factory=lambda: RedisServers())
    certificates: Certificates | None = Field(None, description="mTLS at the gateways. Default: no TLS.")

    @field_validator("groups")
    @classmethod
    def _names(cls, groups: dict[str, WorkerGroup]) -> dict[str, WorkerGroup]:
        for name in groups:
            if not _DNS_LABEL.fullmatch(name) or name in ("gateways", "head"):
                raise ValueError(
                    f"{name!r} cannot be a group's name; use lower-case letters, digits and '-', at most 40, "
                    "and neither gateways nor head"
                )
        return groups
