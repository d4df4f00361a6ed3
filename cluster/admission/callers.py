"""Callers of the API by name, and what holds for each."""

from __future__ import annotations

from hashlib import blake2b

from cluster.admission.call import Call
from cluster.admission.lease import Limits
from cluster.config import CALLER_NAME, CALLER_NAME_RULE, AdmissionConfig, CallerConfig
from cluster.errors import InvalidRequest

_UNNAMED = CallerConfig()


class Callers:
    """Names whoever makes a call. The gateway takes the name as it comes: what stands before it answers for it."""

    def __init__(self, config: AdmissionConfig) -> None:
        self._key = config.caller_metadata
        self._configs = config.callers
        self._limits = Limits(config.concurrent_streams, config.tokens_per_minute)

    def name(self, call: Call) -> str:
        """As the metadata says, else the caller's host. Raises InvalidRequest for what cannot be a name."""
        return self.given_name(call) or f"host:{call.peer.rpartition(':')[0].partition(':')[2]}"

    def given_name(self, call: Call) -> str:
        """As the metadata says, else "". Raises InvalidRequest for what cannot be a name."""
        for key, value in call.metadata:
            if key == self._key:
                return self._checked(value if isinstance(value, str) else value.decode("latin-1"))
        return ""

    def config(self, name: str) -> CallerConfig:
        """What holds for the caller."""
        return self._configs.get(name, _UNNAMED)

    def limits(self, name: str) -> Limits:
        """What the caller may have."""
        if name not in self._configs:
            return self._limits
        own, common = self._configs[name], self._limits
        streams, tokens = own.concurrent_streams, own.tokens_per_minute
        return Limits(
            common.streams if streams is None else streams, common.tokens_per_minute if tokens is None else tokens
        )

    def _checked(self, value: str) -> str:
        if self._key == "authorization":
            # A secret: whoever sees the name must not be able to call with it.
            return f"key:{blake2b(value.encode(), digest_size=8).hexdigest()}"
        if not CALLER_NAME.fullmatch(value):
            raise InvalidRequest.of(f"metadata.{self._key}", f"cannot be a caller's name; {CALLER_NAME_RULE}")
        return value
