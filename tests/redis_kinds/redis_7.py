"""One server of Redis 7, as Debian has it (`apt-get install redis-server`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.redis_kinds.single import Single


class Redis7(Single):
    """A RedisKind. Tests that ask for it are skipped where it is not installed."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("Redis is not installed; apt-get install redis-server")
        super().__init__(binary=Path(binary))
