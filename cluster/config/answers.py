"""The `answers` section: what is kept for retries and resumes."""

from __future__ import annotations

from pydantic import Field

from cluster.config.section import Section


class AnswersConfig(Section):
    """Answers to requests that carry a request_id: kept in Redis for retries, and for ResumeGenerate."""

    keep_s: int = Field(600, ge=1, description="Seconds an answer is kept after its last message.")
    grace_s: float = Field(30, ge=0, description="Seconds a resumable answer goes on while nobody listens.")
    max_answer_mb: int = Field(
        8, ge=1, description="Most of an answer that is kept, and largest request another gateway can go on with, MiB."
    )
    lease_s: float = Field(
        5, ge=0.5, description="Seconds without a sign of life after which other gateways go on with an answer."
    )
