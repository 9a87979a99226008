"""Policies of a pack's folder; resources of a preview or an exported stack."""

import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from pulumi_policy import Policy, PolicyPack

from berth_policy.testing.resources import PROJECT, STACK_TYPE, UNKNOWN, Given

NOT_KNOWN = "[unknown]"
"""How `berth preview --json` writes a value that the preview does not know."""


class LoadError(ValueError):
    """What was to be loaded is something else; the message says which file, and what is wanted."""


class _FoundError(Exception):
    """Ends a pack's program when it would begin to serve."""


def load_pack(folder: Path) -> list[Policy]:
    """The policies that the program in a pack's folder makes a pack of.

    Raises:
        LoadError: it makes none.
    """
    found: list[Policy] = []

    def make(
        _pack: PolicyPack, _name: str, policies: list[Policy], *_others: object, **_further: object
    ) -> None:
        found.extend(policies)
        raise _FoundError

    with mock.patch.object(PolicyPack, "__init__", make):
        try:
            runpy.run_path(str(folder), run_name="__main__")
        except _FoundError:
            return found
    raise LoadError(f"{folder}: its program makes no PolicyPack; wanted: a folder whose __main__.py does")


def load_preview(report: Path | Mapping[str, Any]) -> list[Given]:
    """The resources that a preview plans: `berth preview <stack> --json`, as a file or read already.

    Secrets are hidden in it: policies see the word "[secret]" instead.

    Raises:
        LoadError: it is something else.
    """
    document = _read(report)
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise LoadError(f"{_name(report)} has no list of steps; wanted: the output of berth preview --json")
    states = [one["newState"] for one in steps if one.get("newState")]
    providers = {one["urn"]: one for one in states if one["type"].startswith("pulumi:providers:")}
    return [_state(one, providers) for one in states]


def load_stack_export(export: Path | Mapping[str, Any]) -> list[Given]:
    """The resources of `pulumi stack export`, as a file or read already.

    Raises:
        LoadError: it is something else.
    """
    document = _read(export)
    states = (document.get("deployment") or {}).get("resources")
    if not isinstance(states, list):
        raise LoadError(f"{_name(export)} has no deployment.resources; wanted: pulumi stack export")
    states = [one for one in states if not one.get("delete")]
    providers = {one["urn"]: one for one in states if one["type"].startswith("pulumi:providers:")}
    return [_state(one, providers) for one in states]


def _state(state: Mapping[str, Any], providers: Mapping[str, Mapping[str, Any]]) -> Given:
    urn = str(state["urn"])
    named = str(state.get("provider") or "")
    # A state's has the provider's ID at its end, a preview's may lack it.
    provider = providers.get(named) or providers.get(named.rpartition("::")[0])
    outputs = state.get("outputs")
    return Given(
        type=str(state["type"]),
        name=urn.rpartition("::")[2],
        inputs=_values(state.get("inputs") or {}),
        outputs=None if outputs is None else _values(outputs),
        urn=urn,
        parent=str(state.get("parent") or ""),
        dependencies=tuple(state.get("dependencies") or ()),
        references={key: tuple(urns) for key, urns in (state.get("propertyDependencies") or {}).items()},
        provider=_state(provider, {}) if provider and provider is not state else None,
        protect=bool(state.get("protect")),
    )


def _values(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_values(item) for item in value]
    return UNKNOWN if value == NOT_KNOWN else value


def _read(source: Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadError(f"{source} is no JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise LoadError(f"{source} holds {type(document).__name__}; wanted: a JSON object")
    return document


def _name(source: Path | Mapping[str, Any]) -> str:
    return str(source) if isinstance(source, Path) else "the document"


__all__ = ["PROJECT", "STACK_TYPE", "LoadError", "load_pack", "load_preview", "load_stack_export"]
