"""The access log: a line for each call that has ended, as JSON or text, without anything that a call says."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from logging.handlers import WatchedFileHandler
from typing import Any

from cluster.config import LogsConfig

logger = logging.getLogger("gemma_cluster.access")


class _Formatter(logging.Formatter):
    """Values are JSON in both formats, so that no caller's request_id can break a line."""

    def __init__(self, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {"time": round(record.created, 3), **record.__dict__["fields"]}
        if self._is_json:
            return json.dumps(fields)
        return " ".join(f"{name}={json.dumps(value)}" for name, value in fields.items())


def open_access_log(config: LogsConfig) -> None:
    """From here on this process writes it, to the file or to standard output, which Ray keeps in its logs."""
    close_access_log()
    if config.format == "off":
        return
    handler = logging.StreamHandler(sys.stdout) if config.file is None else WatchedFileHandler(config.file)
    handler.setFormatter(_Formatter(config.format == "json"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def close_access_log() -> None:
    """Writes no more."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def log_access(fields: Mapping[str, Any]) -> None:
    """One call."""
    logger.info("call", extra={"fields": fields})
