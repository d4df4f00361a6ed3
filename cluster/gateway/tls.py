"""The gateway's certificate, and whose certificates callers must have. Read anew when the files change."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from cluster.config import ConfigError, TlsConfig

logger = logging.getLogger("ray.serve.gemma_cluster.tls")


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials:
    """For `add_secure_port`. Raises ConfigError for a file that cannot be read."""
    certificates = Certificates(config)
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(),
        certificates.changed,  # type: ignore[arg-type]  # gRPC's stubs do not know that None keeps the old one
        require_client_authentication=config.client_ca is not None,
    )


class Certificates:
    """The files of a TlsConfig, and whether they are others than last time."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._last: tuple[bytes, bytes, bytes | None] | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now. Raises ConfigError that names the file."""
        config = self._config
        authority = None if config.client_ca is None else _content("client_ca", config.client_ca)
        self._last = (_content("key", config.key), _content("certificate", config.certificate), authority)
        key, certificate, _ = self._last
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked at every handshake: a new one, or None to keep the old. A file that is away for now changes nothing."""
        before = self._last
        try:
            now = self.read()
        except ConfigError as error:
            logger.warning("%s; the certificate stays as it was", error)
            return None
        return now if self._last != before else None


def _content(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"gateway.tls.{field}: {path}: {error.strerror}") from error
