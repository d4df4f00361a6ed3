"""The `sessions` section: conversations in Redis."""

from __future__ import annotations

from pydantic import Field, field_validator

from cluster.config.section import Section
from cluster.redis_url import checked_url


class SessionsConfig(Section):
    """Conversations in Redis."""

    redis_url: str | None = Field(
        None,
        description="redis://, redis+sentinel://HOST,HOST/SERVICE or redis+cluster://HOST,HOST URL, rediss… for TLS. "
        "Default: $REDIS_URL, else `up` starts an embedded Valkey server.",
    )
    ttl_s: int = Field(24 * 3600, ge=1, description="Seconds a session lives after its last use.")
    timeout_s: float = Field(2.0, gt=0, description="Longest wait for Redis before UNAVAILABLE, seconds.")
    max_session_mb: int = Field(64, ge=1, description="Largest conversation, media included, MiB.")

    @field_validator("redis_url")
    @classmethod
    def _is_of_redis(cls, url: str | None) -> str | None:
        return checked_url(url)
