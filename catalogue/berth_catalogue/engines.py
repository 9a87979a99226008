"""Engines: how each one is started, probed and configured, read from engines.yaml."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from string import Formatter
from typing import Any

import yaml

PLACEHOLDERS = frozenset({"port", "slots", "threads", "weights", "max_total_tokens"})
"""What an engine's environment can be filled with."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine, as engines.yaml describes it."""

    name: str
    image: str
    command: tuple[str, ...]
    port: int
    startup_probe: tuple[str, ...]
    liveness_probe: tuple[str, ...]
    formats: tuple[str, ...]
    accelerators: tuple[str, ...]
    environment: Mapping[str, str]
    source: str
    date: str


@functools.cache
def engines() -> Mapping[str, Engine]:
    """All engines by name."""
    text = resources.files("berth_catalogue").joinpath("engines.yaml").read_text(encoding="utf-8")
    return {name: _engine(name, data) for name, data in yaml.safe_load(text)["engines"].items()}


def _engine(name: str, data: dict[str, Any]) -> Engine:
    probes = data.pop("probes")
    known = {field.name for field in fields(Engine)}
    if strange := data.keys() - known:
        raise ValueError(f"engines.yaml: engine '{name}' has unknown keys: {', '.join(sorted(strange))}")
    environment = {str(key): str(value) for key, value in data.pop("environment").items()}
    for key, value in environment.items():
        for _, placeholder, _, _ in Formatter().parse(value):
            if placeholder is not None and placeholder not in PLACEHOLDERS:
                raise ValueError(
                    f"engines.yaml: engine '{name}': {key} names {{{placeholder}}}, which nothing fills"
                )
    return Engine(
        name=name,
        command=tuple(data.pop("command")),
        startup_probe=tuple(probes["startup"]),
        liveness_probe=tuple(probes["liveness"]),
        formats=tuple(data.pop("formats")),
        accelerators=tuple(data.pop("accelerators")),
        environment=environment,
        date=str(data.pop("date")),
        **data,
    )
