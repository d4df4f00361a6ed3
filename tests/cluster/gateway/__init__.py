"""The gateway in-process: a real gRPC server, codec, router and session store; only Ray is left out."""
