"""Reads the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cluster.config.cluster import ClusterConfig
from cluster.config.section import ConfigError


def load_config(path: str | Path | None) -> ClusterConfig:
    """Reads a YAML file; None gives the defaults. Raises ConfigError that names the field."""
    if path is None:
        return ClusterConfig()
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        return parse_config({} if data is None else data)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(data: Any) -> ClusterConfig:
    """Validates already-read data. Raises ConfigError that names each bad field."""
    try:
        return ClusterConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_problem, error.errors()))) from error


def _problem(item: ErrorDetails) -> str:
    """One line; our own validators name the field in their message."""
    message = item["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, item["loc"]))
    return message if not where and item["type"] == "value_error" else f"{where or 'config'}: {message}"
