"""Values as YAML that every reader takes for the same values, always in the same bytes."""

from __future__ import annotations

import re
from typing import Any

import yaml

# What readers of YAML 1.1 and 1.2 agree to be a text; everything else is quoted.
_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "yes", "n", "no", "on", "off", "true", "false", "null"})
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    bare = _BARE.fullmatch(value) and value.lower() not in _WORDS
    style = None if bare else "|" if "\n" in value.strip("\n") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def ordered(value: Any) -> Any:
    """The value with keys in the order in which people read them: what it is first, the rest by name."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key))
        return {key: ordered(value[key]) for key in keys}
    if isinstance(value, list):
        return [ordered(item) for item in value]
    return value


def dump(value: Any) -> str:
    """The value as a YAML document in block style."""
    return yaml.dump(ordered(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)
