# noqa: INP001 - a module beside its program, no package
"""An engine of one's own, as data: what it speaks, its image, and what was measured with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pulumi
import yaml
from berth_catalogue.engines import SETTINGS, engine
from berth_components import ArgumentError, EngineArgs, ProbesArgs

_KEYS = {"title", "speaks", "image", "load_seconds", "resources", "settings"}


@dataclass(frozen=True)
class OwnEngine:
    """An engine that takes the place of one in the catalogue.

    Attributes:
        title: what people call it.
        speaks: the engine whose API it speaks and whose arguments it takes.
        image: its image.
        load_seconds: from start to ready, as measured.
        resources: its CPU and memory.
        settings: the engine's settings, those of `EngineArgs`.
    """

    title: str
    speaks: str
    image: str
    load_seconds: float
    resources: dict[str, Any]
    settings: dict[str, Any]

    def args(self) -> EngineArgs:
        """What a `ModelServer` takes as its engine; it refuses settings that the engine cannot honour."""
        own = {"name": self.speaks, "image": self.image, "resources": self.resources, **self.settings}
        return cast("EngineArgs", own)

    def probes(self) -> ProbesArgs:
        """What it takes as its probes: a budget of less than twice the measured load would be refused."""
        return {"measured_load_seconds": self.load_seconds}


def read(path: Path, image: pulumi.Input[str] | None = None) -> OwnEngine:
    """Read the file of an engine.

    Args:
        path: the file.
        image: instead of the file's, such as one that is pinned by digest.

    Raises:
        ArgumentError: a key is missing or unknown, or the engine that it speaks like is not in the catalogue.
    """
    given = yaml.safe_load(path.read_text())
    odd = sorted(set(given) ^ _KEYS)
    if odd:
        raise ArgumentError(path.name, odd[0], "is missing or unknown", ", ".join(sorted(_KEYS)))
    unknown = sorted(set(given["settings"]) - set(SETTINGS))
    if unknown:
        raise ArgumentError(path.name, f"settings.{unknown[0]}", "does not exist", ", ".join(SETTINGS))
    engine(given["speaks"])
    return OwnEngine(**{**given, **({"image": image} if image else {})})
