"""The gateway in-process: a real gRPC server, codec, router and session store; only Ray is left out."""

import warnings

# Ray's own modules warn while they are imported; ours come after them, and are held to the strict filter.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401
