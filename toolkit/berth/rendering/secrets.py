"""Secrets as references: an ExternalSecret, or an existing Secret by its name and keys. Never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from .errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Collection

    from .collect import Item

Form = Literal["existing", "external"]
API_VERSION = "external-secrets.io/v1"
STORE_KINDS = ("ClusterSecretStore", "SecretStore")


@dataclass(frozen=True)
class Secrets:
    """How secrets are referred to.

    Attributes:
        form: `existing`: somebody makes them; `external`: the External Secrets Operator does.
        store: the name of its store; for `external` only.
        store_kind: one of `STORE_KINDS`.
        prefix: what keys in the store begin with, `/` between it and the Secret's name.
        refresh: how often the operator asks the store, as a Go duration.
        stand_ins: keys that stand in plans for keys of which nobody knows the names.
    """

    form: Form = "existing"
    store: str = ""
    store_kind: str = STORE_KINDS[0]
    prefix: str = ""
    refresh: str = "1h"
    stand_ins: Collection[str] = ()

    def __post_init__(self) -> None:
        if self.form == "external" and not self.store:
            raise RenderError("--secrets external: name the operator's store with --secret-store", 2)
        if self.store_kind not in STORE_KINDS:
            raise RenderError(
                f"--secret-store-kind {self.store_kind}: allowed are {', '.join(STORE_KINDS)}", 2
            )


@dataclass(frozen=True)
class Needed:
    """A Secret that has to be there.

    Attributes:
        type: Kubernetes' type of it.
        keys: its keys; empty where nobody knows them before there are some.
        remote: its key in the store; empty for an existing Secret.
    """

    namespace: str
    name: str
    type: str
    keys: tuple[str, ...]
    remote: str = ""

    @property
    def title(self) -> str:
        """How messages name it, with what is expected in it."""
        keys = ", ".join(self.keys) if self.keys else "not known here"
        return f"Secret {self.namespace}/{self.name} ({self.type}), keys: {keys}"


def refer(items: tuple[Item, ...], secrets: Secrets) -> tuple[tuple[Item, ...], tuple[Needed, ...]]:
    """The objects with every Secret left out or turned into an ExternalSecret, and the Secrets needed."""
    kept: list[Item] = []
    needed: list[Needed] = []
    for item in items:
        if item.kind != "Secret" or item.manifest["apiVersion"] != "v1":
            kept.append(item)
            continue
        one = _needed(item, secrets)
        needed.append(one)
        if secrets.form == "external":
            kept.append(replace(item, manifest=external(item, one, secrets)))
    return tuple(kept), tuple(needed)


def _needed(item: Item, secrets: Secrets) -> Needed:
    data = item.manifest.get("data")
    keys = tuple(sorted(map(str, data))) if isinstance(data, Mapping) else ()
    if set(keys) <= set(secrets.stand_ins):
        keys = ()
    remote = "/".join(part for part in (secrets.prefix.strip("/"), item.name) if part)
    kind = str(item.manifest.get("type") or "Opaque")
    return Needed(item.namespace, item.name, kind, keys, remote if secrets.form == "external" else "")


def external(item: Item, one: Needed, secrets: Secrets) -> dict[str, Any]:
    """The ExternalSecret that makes a Secret of the same name, labels and type."""
    metadata = item.manifest["metadata"]
    template: dict[str, Any] = {"type": one.type}
    inner = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    if inner:
        template["metadata"] = inner
    spec: dict[str, Any] = {
        "refreshInterval": secrets.refresh,
        "secretStoreRef": {"kind": secrets.store_kind, "name": secrets.store},
        "target": {"name": item.name, "creationPolicy": "Owner", "template": template},
    }
    if item.manifest.get("immutable"):
        spec["target"]["immutable"] = True
    if one.keys:
        spec["data"] = [
            {"secretKey": key, "remoteRef": {"key": one.remote, "property": key}} for key in one.keys
        ]
    else:
        spec["dataFrom"] = [{"extract": {"key": one.remote}}]
    return {"apiVersion": API_VERSION, "kind": "ExternalSecret", "metadata": dict(metadata), "spec": spec}
