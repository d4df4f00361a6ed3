"""Shows how far a deployment is: a line for each part that becomes ready, and a sign of life in between."""

from __future__ import annotations

import sys
import time

from ray.serve._private.common import DeploymentStatus
from ray.serve.schema import ApplicationStatusOverview

_SIGN_OF_LIFE_S = 5.0


class DeployProgress:
    """Prints to stderr, each part once."""

    def __init__(self, variants: list[str]) -> None:
        self._waiting = [*variants, "gateway"]
        self._total = len(self._waiting)
        self._started = self._last = time.monotonic()

    def show(self, app: ApplicationStatusOverview) -> None:
        """Prints what is new since the last call."""
        for name in list(self._waiting):
            deployment = app.deployments.get(name)
            if deployment is not None and deployment.status == DeploymentStatus.HEALTHY:
                self._waiting.remove(name)
                self._say(f"[{self._total - len(self._waiting)}/{self._total}] {name} is ready")
        if self._waiting and time.monotonic() - self._last > _SIGN_OF_LIFE_S:
            self._say(f"waiting for {', '.join(self._waiting)}")

    def failure(self, app: ApplicationStatusOverview) -> str:
        """What the failed parts say."""
        failed = {DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY}
        texts = [f"{name}: {part.message}" for name, part in app.deployments.items() if part.status in failed]
        return "\n".join(texts) or app.message

    def _say(self, message: str) -> None:
        self._last = time.monotonic()
        print(f"gemma-cluster: {message} ({self._last - self._started:.0f} s)", file=sys.stderr, flush=True)
