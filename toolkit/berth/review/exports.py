"""`pulumi stack export` files: what is deployed, read without credentials.

Only inputs are read, and the stack's outputs. A secret in them, encrypted or not, becomes the word `[secret]`
at once; nothing of it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.deployer.values import ARCHIVE, ASSET, HIDDEN, NOT_KNOWN, SECRET, SIGNATURE, UNKNOWN_STRING

from .model import Resource

if TYPE_CHECKING:
    from pathlib import Path

_VERSIONS = (3, 4)  # of the file; the deployments in both are alike
_AUTONAMED = "pulumi.com/autonamed"
_STACK = "pulumi:pulumi:Stack"
_WORDS = {SECRET: HIDDEN, ASSET: "[asset]", ARCHIVE: "[archive]"}


class ExportError(ValueError):
    """A file is no export of the stack that is wanted; the message says what to do."""


@dataclass(frozen=True)
class Deployed:
    """What an export says: its resources, and the outputs of the stack."""

    resources: tuple[Resource, ...]
    outputs: Mapping[str, Any]


def read_export(path: Path, project: str, stack: str) -> Deployed:
    """Read an export of a stack.

    Raises:
        ExportError: it cannot be read, is no export, or is another stack's.
    """
    again = f"make it by: pulumi stack export --stack {stack} --file {path.name}"
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ExportError(f"{path}: is not JSON; {again}") from None
    deployment = document.get("deployment") if isinstance(document, dict) else None
    if not isinstance(deployment, dict):
        raise ExportError(f"{path}: has no `deployment`, so it is no export of a stack; {again}")
    if document.get("version") not in _VERSIONS:
        raise ExportError(
            f"{path}: its version is {document.get('version')!r}; known are {_VERSIONS[0]} and {_VERSIONS[1]}"
        )
    found = deployment.get("resources") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) and one.get("urn") for one in found):
        raise ExportError(f"{path}: deployment.resources is no list of resources with URNs; {again}")
    wanted = f"urn:pulumi:{stack}::{project}::"
    if other := next((one["urn"] for one in found if not str(one["urn"]).startswith(wanted)), None):
        raise ExportError(
            f"{path}: is of another stack: it has {other}, and the URNs of '{stack}' begin with {wanted}; "
            f"{again}"
        )
    outputs = next((one.get("outputs") for one in found if one.get("type") == _STACK), None)
    return Deployed(
        tuple(_resource(one) for one in found if not one.get("delete") and not one.get("external")),
        _shown(outputs or {}),
    )


def _resource(entry: Mapping[str, Any]) -> Resource:
    urn, type_ = str(entry["urn"]), str(entry.get("type", ""))
    given = entry.get("inputs")
    managed = bool(entry.get("custom")) and not type_.startswith("pulumi:")  # no provider, and not the stack
    inputs = _without_defaults(_shown(given)) if managed and isinstance(given, Mapping) else {}
    ignore: tuple[str, ...] = ()
    if managed and type_.startswith("kubernetes:") and isinstance(inputs.get("metadata") or {}, Mapping):
        inputs, ignore = _kubernetes(inputs)
    return Resource(
        urn=urn,
        type=type_,
        name=urn.rpartition("::")[2],
        parent=str(entry.get("parent") or ""),
        custom=managed,
        inputs=inputs,
        object=_object(inputs) if type_.startswith("kubernetes:") else "",
        protect=bool(entry.get("protect")),
        retain=bool(entry.get("retainOnDelete")),
        ignore=ignore,
    )


def _shown(value: Any) -> Any:
    """A value of an export as it may be shown."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return _WORDS.get(str(value[SIGNATURE]), "[resource]")
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return NOT_KNOWN if value == UNKNOWN_STRING else value


def _without_defaults(value: Any) -> Any:
    """The inputs without what the provider filled in, which it lists itself."""
    if isinstance(value, Mapping):
        filled = value.get("__defaults")
        drop = set(filled) if isinstance(filled, list) else set()
        return {
            key: _without_defaults(item)
            for key, item in value.items()
            if key not in drop and not key.startswith("__") and item is not None
        }
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def _kubernetes(inputs: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """An object as plans have it: a Secret's content hidden, a name that Pulumi made up left alone."""
    if inputs.get("kind") == "Secret":
        data = inputs.pop("stringData", None) or inputs.get("data")
        inputs |= {"data": HIDDEN} if data else {}
    metadata = dict(inputs.get("metadata") or {})
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):  # a secret as a whole
        return {**inputs, "metadata": metadata}, ()
    kept = {key: value for key, value in annotations.items() if key != _AUTONAMED}
    metadata = {key: value for key, value in metadata.items() if key != "annotations"}
    metadata |= {"annotations": kept} if kept else {}
    return {**inputs, "metadata": metadata}, ("metadata.name",) if _AUTONAMED in annotations else ()


def _object(inputs: Mapping[str, Any]) -> str:
    metadata = inputs.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
    return f"{inputs.get('kind', '')} {name}".strip()
