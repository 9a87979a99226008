"""The models of the catalogue, typed.

from berth_catalogue.models import model
model("smollm2-135m-instruct-q4_1").weights.sha256
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from berth_catalogue.architecture import Architecture, read_architecture
from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import load
from berth_catalogue.sources import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.reading import Entry

__all__ = [
    "Architecture",
    "CatalogueError",
    "HubWeights",
    "Model",
    "Source",
    "Weights",
    "model",
    "models",
]

_DATA = "models.yaml"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
FORMATS = ("gguf", "safetensors")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of one file that an installed package carries, pinned here.

    Attributes:
        source: what the fetcher's BERTH_WEIGHTS_SOURCE takes.
        format: gguf.
        package: the distribution that carries the file.
        package_version: the version in which it was measured.
        module: the import package whose folder the file lies in; it is found, never imported.
        file: the file's name.
        sha256: 64 hexadecimal digits.
        bytes: its size.
    """

    source: str
    format: str
    package: str
    package_version: str
    module: str
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class HubWeights:
    """Weights in a repository of a model hub.

    Revision and digests are not data of ours: `berth weights pin` asks the hub for them and writes
    stacks/weights/<model>.yaml, which `berth_catalogue.weights_pins` reads.

    Attributes:
        source: hub.
        format: safetensors.
        repo: <owner>/<name>.
        gated: the hub gives the files only to accounts that its owner let in, so a token is needed.
    """

    source: str
    format: str
    repo: str
    gated: bool


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        key: its key in the catalogue.
        name: what clients call it.
        licence: SPDX expression, LicenseRef-… for one that SPDX does not list.
        parameters: how many weights it has.
        context_tokens: the longest context that it serves without further settings.
        quantisation: GGUF's name for it, or the type of unquantised weights (BF16).
        weights: where its files are.
        architecture: the numbers that its memory is computed from.
        sources: where each figure was read, and when.
    """

    key: str
    name: str
    licence: str
    parameters: int
    context_tokens: int
    quantisation: str
    weights: Weights | HubWeights
    architecture: Architecture
    sources: tuple[Source, ...]


@cache
def models() -> Mapping[str, Model]:
    """Every model, by key.

    Raises:
        CatalogueError: the data are wrong.
    """
    top = load(_DATA)
    table = top.sources()
    found = {key: _model(key, entry, table) for key, entry in top.entry("models").entries()}
    top.end()
    return found


def model(key: str) -> Model:
    """One model.

    Raises:
        CatalogueError: it is not in the catalogue; the message lists those that are.
    """
    known = models()
    if key not in known:
        raise unknown("model", key, known, _DATA)
    return known[key]


def _model(key: str, entry: Entry, table: Mapping[str, Source]) -> Model:
    weights = _weights(entry.entry("weights"))
    made = Model(
        key=key,
        name=entry.text("name"),
        licence=entry.text("licence"),
        parameters=entry.whole("parameters"),
        context_tokens=entry.whole("context_tokens"),
        quantisation=entry.text("quantisation"),
        weights=weights,
        architecture=read_architecture(entry.entry("architecture")),
        sources=entry.cited(table),
    )
    entry.end()
    if made.architecture.parameters != made.parameters:
        raise entry.wrong(
            "parameters", made.parameters, f"what the architecture makes: {made.architecture.parameters}"
        )
    return made


def _weights(entry: Entry) -> Weights | HubWeights:
    source = entry.text("source")
    format_ = entry.text("format", FORMATS)
    made: Weights | HubWeights
    if source == "hub":
        made = HubWeights(
            source=source,
            format=format_,
            repo=entry.text("repo"),
            gated=entry.text("access", ("open", "gated")) == "gated",
        )
        if not _REPO.fullmatch(made.repo):
            raise entry.wrong("repo", made.repo, "<owner>/<name>")
    else:
        made = Weights(
            source=source,
            format=format_,
            package=entry.text("package"),
            package_version=entry.text("package_version"),
            module=entry.text("module"),
            file=entry.text("file"),
            sha256=entry.text("sha256"),
            bytes=entry.whole("bytes"),
        )
        if not _SHA256.fullmatch(made.sha256):
            raise entry.wrong("sha256", made.sha256, "64 hexadecimal digits")
    entry.end()
    return made
