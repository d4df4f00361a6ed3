"""The whole configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, model_validator

from cluster.config.admission import AdmissionConfig
from cluster.config.answers import AnswersConfig
from cluster.config.gateway import GatewayConfig
from cluster.config.kubernetes import KubernetesConfig
from cluster.config.observing import LogsConfig, TracesConfig
from cluster.config.routing import RoutingPolicy
from cluster.config.section import ConfigError, Section
from cluster.config.sessions import SessionsConfig
from cluster.config.variant import VariantConfig
from cluster.redis_url import checked_url

VARIANT_NAMES = ("e2b", "e4b", "26b-a4b", "31b")
DEFAULT_FAMILY = "pocket"
_FAMILIES = {
    "pocket": {name: f"pocket:{name}" for name in VARIANT_NAMES},
    "tiny": {name: f"tiny:{name}" for name in VARIANT_NAMES},
    "gemma-4": {
        "e2b": "google/gemma-4-E2B-it",
        "e4b": "google/gemma-4-E4B-it",
        "26b-a4b": "google/gemma-4-26B-A4B-it",
        "31b": "google/gemma-4-31B-it",
    },
}
_VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED_NAMES = {"auto", "gateway"}


class ClusterConfig(Section):
    """The whole configuration."""

    family: str = Field(
        DEFAULT_FAMILY,
        description="pocket (trained), tiny (random), gemma-4, or a folder with one checkpoint folder a variant.",
    )
    gateway: GatewayConfig = Field(default_factory=lambda: GatewayConfig())
    sessions: SessionsConfig = Field(default_factory=lambda: SessionsConfig())
    answers: AnswersConfig = Field(default_factory=lambda: AnswersConfig())
    routing: RoutingPolicy = Field(default_factory=lambda: RoutingPolicy())
    admission: AdmissionConfig = Field(default_factory=lambda: AdmissionConfig())
    logs: LogsConfig = Field(default_factory=lambda: LogsConfig())
    traces: TracesConfig = Field(default_factory=lambda: TracesConfig())
    kubernetes: KubernetesConfig = Field(
        default_factory=lambda: KubernetesConfig(), description="Only `gemma-cluster k8s render` reads it."
    )
    variants: dict[str, VariantConfig] = Field(
        default_factory=lambda: {name: VariantConfig() for name in VARIANT_NAMES},
        description="Variants to serve, smallest first.",
    )

    @model_validator(mode="after")
    def _complete(self) -> ClusterConfig:
        if not self.variants:
            raise ValueError("variants: name at least one of " + ", ".join(VARIANT_NAMES))
        for name in self.variants:
            if name in _RESERVED_NAMES or not _VARIANT_NAME.fullmatch(name):
                rule = "use letters, digits, '-', '_' and '.', and neither " + " nor ".join(sorted(_RESERVED_NAMES))
                raise ValueError(f"variants.{name}: cannot be a variant's name; {rule}")
            self.checkpoint_of(name)
        for row in self.routing.size_classes:
            # The family's own names may stand there though they are not served, as in the default table.
            for name in {*row.prefer} - {*self.variants, *VARIANT_NAMES}:
                raise ValueError(f"routing.size_classes: {row.name} prefers {name!r}, which is no variant")
        return self

    def checkpoint_of(self, variant: str) -> str:
        """Where the variant's checkpoint is. Raises ValueError when neither variant nor family says."""
        explicit = self.variants[variant].checkpoint
        if explicit is not None:
            return explicit
        if self.family in _FAMILIES:
            if variant not in _FAMILIES[self.family]:
                raise ValueError(f"variants.{variant}: the {self.family} family has no such variant; give a checkpoint")
            return _FAMILIES[self.family][variant]
        return str(Path(self.family) / variant)

    @property
    def redis_url(self) -> str | None:
        """The Redis to use, from the file or $REDIS_URL. Raises ConfigError when that is no URL of Redis."""
        try:
            return self.sessions.redis_url or checked_url(os.environ.get("REDIS_URL"))
        except ValueError as error:
            raise ConfigError(f"REDIS_URL: {error}") from error
