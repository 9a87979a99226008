"""The data files, typed: what each type of resource needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERBS = ("create", "read", "update", "delete")


@dataclass(frozen=True)
class Needs:
    """What one type of resource needs.

    Attributes:
        by_verb: permissions by create, read, update, delete.
        when: further permissions by the input that asks for them.
        sources: keys of the file's sources.
        note: what to know; may be empty.
        extra: what only one cloud's file has, as `aws.yaml` and `gcp.yaml` describe it.
    """

    by_verb: Mapping[str, tuple[str, ...]]
    when: Mapping[str, tuple[str, ...]]
    sources: tuple[str, ...]
    note: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def all(self) -> Iterator[str]:
        """Every permission that it may need."""
        for one in (*self.by_verb.values(), *self.when.values()):
            yield from one


@dataclass(frozen=True)
class Cloud:
    """One cloud's file: needs by type token, what components look up, and the sources."""

    types: Mapping[str, Needs]
    lookups: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Action:
    """For which kinds of resource AWS checks an action, as `service:kind`.

    Attributes:
        needs: always.
        may: where the request names one.
    """

    needs: tuple[str, ...]
    may: tuple[str, ...]


def _load(name: str) -> dict[str, Any]:
    content = files("berth.permissions").joinpath("data", name).read_text()
    loaded: dict[str, Any] = yaml.safe_load(content)
    return loaded


def _cloud(name: str) -> Cloud:
    top = _load(name)
    plain = {*VERBS, "when", "from", "note"}
    types = {
        token: Needs(
            by_verb={verb: tuple(one.get(verb, ())) for verb in VERBS},
            when={key: tuple(value) for key, value in one.get("when", {}).items()},
            sources=tuple(one["from"]),
            note=one.get("note", ""),
            extra={key: value for key, value in one.items() if key not in plain},
        )
        for token, one in top["types"].items()
    }
    lookups = {token: tuple(value) for token, value in top.get("lookups", {}).items()}
    return Cloud(types, lookups, top["sources"])


@cache
def aws() -> Cloud:
    """What AWS' types need."""
    return _cloud("aws.yaml")


@cache
def gcp() -> Cloud:
    """What Google Cloud's types need."""
    return _cloud("gcp.yaml")


@cache
def aws_actions() -> Mapping[str, Action]:
    """Every action that `aws.yaml` names."""
    return {
        name: Action(tuple(one.get("needs", ())), tuple(one.get("may", ())))
        for name, one in _load("aws_actions.yaml")["actions"].items()
    }


@cache
def aws_arns() -> Mapping[str, str]:
    """Templates of ARNs by kind."""
    found: dict[str, str] = _load("aws_actions.yaml")["arns"]
    return found
