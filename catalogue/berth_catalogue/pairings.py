"""Pairings: which engine serves on which accelerator, with which image; what has no source is refused.

from berth_catalogue.pairings import pairing
pairing("vllm", "aws-inferentia2").image_role  # engine-vllm-neuron
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.accelerators import accelerators
from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

_DATA = "pairings.yaml"
CPU = "cpu"
"""What stands for no accelerator."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """An engine on an accelerator.

    Attributes:
        engine: the engine's key.
        accelerator: the accelerator's key, or cpu.
        image_role: the role of the image that runs the engine there, such as engine-vllm-neuron.
        reason: what the sources say of the pair.
        sources: where it was read, and when.
    """

    engine: str
    accelerator: str
    image_role: str
    reason: str
    sources: tuple[Source, ...]


@cache
def pairings() -> Mapping[tuple[str, str], Pairing]:
    """Every pairing that has a source, by engine and accelerator.

    Raises:
        CatalogueError: the data are wrong.
    """
    data = load(_DATA)
    table = data.sources()
    computing = (CPU, *accelerators())
    made: dict[tuple[str, str], Pairing] = {}
    for engine, images in data.entry("engines").entries():
        for role, entry in images.entries():
            sources, reason = entry.cited(table), entry.text("reason")
            for key in entry.texts("accelerators"):
                if key not in computing:
                    raise unknown(
                        f"{_DATA}: engines.{engine}.{role}.accelerators: accelerator",
                        key,
                        computing,
                        "accelerators.yaml",
                    )
                if (engine, key) in made:
                    raise entry.wrong("accelerators", key, "paired with an engine once")
                made[engine, key] = Pairing(engine, key, role, reason, sources)
            entry.end()
    data.end()
    return MappingProxyType(made)


def pairing(engine: str, accelerator: str) -> Pairing:
    """The pairing of an engine and an accelerator, or cpu.

    Raises:
        CatalogueError: the engine or the accelerator is unknown, or no source supports the pair; the message
            names the engines that do serve on the accelerator, and what the engine serves on.
    """
    known = pairings()
    engines = sorted({one for one, _ in known})
    computing = (CPU, *accelerators())
    if engine not in engines:
        raise unknown("engine", engine, engines, _DATA)
    if accelerator not in computing:
        raise unknown("accelerator", accelerator, computing, "accelerators.yaml")
    if (engine, accelerator) not in known:
        serving = ", ".join(one for one in engines if (one, accelerator) in known)
        where = ", ".join(key for key in computing if (engine, key) in known)
        raise CatalogueError(
            f"{_DATA}: no source says that engine {engine!r} serves on {accelerator!r}; "
            f"engines that do: {serving or 'none'}; {engine!r} serves on: {where}"
        )
    return known[engine, accelerator]
