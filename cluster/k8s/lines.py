"""Where in a YAML file something stands."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def line_of(text: str, path: Sequence[str]) -> int:
    """The line, from 1, of the key at `path`, or of the nearest one above it that the text has."""
    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 1
    for part in path:
        found = [pair for pair in node.value if pair[0].value == part] if isinstance(node, yaml.MappingNode) else []
        if not found:
            break
        key, node = found[-1]
        line = key.start_mark.line + 1
    return line
