"""vLLM's errors as callers see them."""

from __future__ import annotations

from cluster.errors import ClusterError, InvalidRequest, ReplicaLost


def translated(error: Exception) -> ClusterError:
    """A request that vLLM refuses is the caller's to change; a dead engine is replaced, so a retry is safe."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, ClusterError):
        return error
    if isinstance(error, EngineDeadError):
        return ReplicaLost("a process of vLLM's engine has died; the replica will be replaced")
    if isinstance(error, VLLMClientError):
        return InvalidRequest.of("request", str(error))
    return ClusterError(f"the engine failed on this request: {error}")
