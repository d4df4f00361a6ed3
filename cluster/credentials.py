"""A client's certificates, from the environment: what the command, and whoever wants the same, calls a gateway with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import grpc

CA, CERTIFICATE, KEY = "GEMMA_CLUSTER_CA", "GEMMA_CLUSTER_CERTIFICATE", "GEMMA_CLUSTER_KEY"


class CredentialsError(ValueError):
    """The certificates cannot be used; the message names the variable."""


def environment_credentials(environment: Mapping[str, str] = os.environ) -> grpc.ChannelCredentials | None:
    """PEM files that $GEMMA_CLUSTER_CA, and for mTLS $GEMMA_CLUSTER_CERTIFICATE and $GEMMA_CLUSTER_KEY, name.

    None, for no TLS, without the first. Raises CredentialsError.
    """
    authority, certificate, key = (_content(name, environment.get(name)) for name in (CA, CERTIFICATE, KEY))
    if (certificate is None) != (key is None):
        raise CredentialsError(f"{CERTIFICATE} and {KEY} go together; set both, or neither")
    if authority is None:
        if certificate is not None:
            raise CredentialsError(f"{CERTIFICATE}: without {CA} there is no TLS; set it to the gateway's authority")
        return None
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _content(name: str, path: str | None) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"{name}: {path}: {error.strerror}") from error
