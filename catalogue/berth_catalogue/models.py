"""The models of the catalogue, typed.

from berth_catalogue.models import model
model("smollm2-135m-instruct-q4_1").weights.sha256
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from berth_catalogue.errors import CatalogueError
from berth_catalogue.sources import Source

__all__ = ["CatalogueError", "Model", "Source", "Weights", "model", "models"]

_DATA = "models.yaml"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's weights come from, and what they must be.

    Attributes:
        source: what the fetcher's BERTH_WEIGHTS_SOURCE takes.
        package: the distribution that carries the file.
        package_version: the version in which it was measured.
        module: the import package whose folder the file lies in; it is found, never imported.
        file: the file's name.
        sha256: 64 hexadecimal digits.
        bytes: its size.
    """

    source: str
    package: str
    package_version: str
    module: str
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        key: its key in the catalogue.
        name: what clients call it.
        licence: SPDX expression.
        parameters: how many weights it has.
        context_tokens: the longest context it was trained for.
        quantisation: GGUF's name for it.
        weights: its file.
        sources: where each figure was read, and when.
    """

    key: str
    name: str
    licence: str
    parameters: int
    context_tokens: int
    quantisation: str
    weights: Weights
    sources: tuple[Source, ...]


@cache
def models() -> dict[str, Model]:
    """Every model, by key.

    Raises:
        CatalogueError: the data are wrong.
    """
    data = yaml.safe_load((files("berth_catalogue") / _DATA).read_text("utf-8"))
    return {key: _model(key, entry) for key, entry in data.items()}


def model(key: str) -> Model:
    """One model.

    Raises:
        CatalogueError: it is not in the catalogue; the message lists those that are.
    """
    known = models()
    if key not in known:
        raise CatalogueError(f"model {key!r} is not in {_DATA}; known: {', '.join(sorted(known))}")
    return known[key]


def _model(key: str, entry: dict[str, Any]) -> Model:
    where = f"{_DATA}: {key}"
    weights = _typed(Weights, _part(entry, "weights", dict, where), f"{where}.weights")
    if not _SHA256.fullmatch(weights.sha256):
        raise CatalogueError(f"{where}.weights.sha256: must be 64 hexadecimal digits, got {weights.sha256!r}")
    sources = tuple(
        Source(what=str(one["what"]), origin=str(one["from"]), read=str(one["read"]))
        for one in _part(entry, "sources", list, where)
    )
    if not sources:
        raise CatalogueError(f"{where}.sources: must not be empty: every figure has a source and a date")
    plain = {name: value for name, value in entry.items() if name not in ("weights", "sources")}
    made: Model = _typed(Model, {"key": key, **plain, "weights": weights, "sources": sources}, where)
    return made


def _part(entry: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind):
        raise CatalogueError(f"{where}.{name}: must be a {kind.__name__}, got {value!r}")
    return value


def _typed(shape: Any, values: dict[str, Any], where: str) -> Any:
    """Build a dataclass, checking names and the two plain types."""
    wanted = {field.name: field.type for field in fields(shape)}
    unknown, missing = values.keys() - wanted.keys(), wanted.keys() - values.keys()
    if unknown or missing:
        raise CatalogueError(f"{where}: unknown {sorted(unknown)}, missing {sorted(missing)}")
    for name, kind in wanted.items():
        value = values[name]
        if kind in ("str", "int") and type(value).__name__ != kind:
            raise CatalogueError(f"{where}.{name}: must be a {kind}, got {value!r}")
    return shape(**values)
