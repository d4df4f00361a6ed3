"""YAML as people read it: texts of several lines as blocks, and a first line that says where the file is from."""

from __future__ import annotations

from typing import Any

import yaml

_HEADER = "# Written by `gemma-cluster k8s render`: change cluster.yaml and render again.\n"


class _Dumper(yaml.SafeDumper):
    """Repeats what is repeated, where PyYAML would refer to its first place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(content: dict[str, Any]) -> str:
    """One document."""
    return _HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)
