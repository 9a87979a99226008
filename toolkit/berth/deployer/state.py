"""What a stack leaves in a cluster to be found again: its parent Secret, an ApplySet's parent as in KEP-3659.

The Secret lives in a namespace that no stack owns. It names every kind and namespace that the stack may
have objects in, and is widened before anything is created there; so whatever a killed run left is found.
It also holds the stack's outputs, how its last run ended, and the clusters that the stack reaches.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .client import LEASES, NAMESPACES, SECRETS, Api
from .errors import CONFLICT, FORBIDDEN, NOT_FOUND, ApiError, ClusterError, DeployError
from .manifest import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENGINE = "berth-deployer"
TOOLING = f"{ENGINE}/v0.1"
STATE_NAMESPACE = "berth-system"
RECORD_TYPE = PREFIX + "stack"
_TOOLING = "applyset.kubernetes.io/tooling"
_KINDS = "applyset.kubernetes.io/contains-group-kinds"
_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
_ID = "applyset.kubernetes.io/id"
_TOUCHED = PREFIX + "last-taken-by"
_REREADS = 5
_NAMESPACE_SECONDS = 60.0  # for a namespace that is being deleted to be gone
_NAME_LIMIT = 200


class WrongEngine(DeployError):  # noqa: N818 - reads as the state it reports
    """The stack was deployed by another engine."""

    code = "engine"


def record_name(project: str, stack: str) -> str:
    """The name of a stack's parent Secret and Lease: readable, and different for different stacks."""
    wanted = f"{project}.{stack}"
    name = re.sub(r"[^a-z0-9.]+", "-", wanted.lower()).strip("-.")[:_NAME_LIMIT]
    name = re.sub(r"-?\.[-.]*", ".", name)
    plain = name == wanted and name.count(".") == 1  # with more dots, two stacks could share the name
    exact = hashlib.sha256(f"{project}/{stack}".encode()).hexdigest()
    return name if plain else f"{name}-{exact[:8]}"


def applyset_id(name: str, namespace: str) -> str:
    """The ApplySet's id, as KEP-3659 computes it for a parent Secret."""
    digest = hashlib.sha256(f"{name}.{namespace}.Secret.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


@dataclass
class Record:
    """A stack's parent Secret.

    Attributes:
        group_kinds: every `Kind.group` that the stack may have objects of.
        namespaces: every namespace that it may have objects in.
        run: how the last run ended: `id`, `state` (running, succeeded, failed, cancelled), `started`, `by`.
        outputs: the stack's outputs in wire form as JSON, with `at`; empty where another cluster keeps them.
        clusters: where the stack has objects: dicts with `uid`, `server`, `context`, `kubeconfig` (a path).
    """

    project: str
    stack: str
    group_kinds: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    run: dict[str, str] = field(default_factory=dict)
    outputs: str = field(default="", repr=False)
    clusters: list[dict[str, str]] = field(default_factory=list)
    version: str = ""


class StackState:
    """One stack's record in one cluster."""

    def __init__(self, api: Api, project: str, stack: str, namespace: str = STATE_NAMESPACE) -> None:
        self.api = api
        self.project, self.stack = project, stack
        self.namespace = namespace
        self.name = record_name(project, stack)
        self.id = applyset_id(self.name, namespace)
        self.record: Record | None = None
        self._writing = asyncio.Lock()

    async def read(self) -> Record | None:
        """Read the record; None where the stack has none in this cluster.

        Raises:
            WrongEngine: something else than this deployer made it.
        """
        live = await self.api.get(SECRETS, self.namespace, self.name)
        self.record = None if live is None else self._parse(live)
        return self.record

    def _parse(self, live: Mapping[str, Any]) -> Record:
        metadata = live["metadata"]
        notes = metadata.get("annotations") or {}
        data = {key: base64.b64decode(value).decode() for key, value in (live.get("data") or {}).items()}
        made_by = data.get("engine") or notes.get(_TOOLING) or "something else"
        if made_by != ENGINE:
            raise WrongEngine(
                f"stack {self.stack!r} of project {self.project!r} was deployed by {made_by}, not by "
                f"{ENGINE} (Secret {self.namespace}/{self.name}). Go on with that engine; or destroy the "
                "stack with it first, then deploy it here."
            )
        return Record(
            project=data.get("project", self.project),
            stack=data.get("stack", self.stack),
            group_kinds=set(filter(None, (notes.get(_KINDS) or "").split(","))),
            namespaces=set(filter(None, (notes.get(_NAMESPACES) or "").split(","))),
            run=json.loads(data.get("run") or "{}"),
            outputs=data.get("outputs", ""),
            clusters=json.loads(data.get("clusters") or "[]"),
            version=metadata["resourceVersion"],
        )

    def _manifest(self, record: Record) -> dict[str, Any]:
        data = {
            "engine": ENGINE,
            "project": record.project,
            "stack": record.stack,
            "run": json.dumps(record.run),
            "outputs": record.outputs,
            "clusters": json.dumps(record.clusters),
        }
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": {_ID: self.id, "app.kubernetes.io/managed-by": "berth"},
            "annotations": {
                _TOOLING: TOOLING,
                _KINDS: ",".join(sorted(record.group_kinds)),
                _NAMESPACES: ",".join(sorted(record.namespaces)),
            },
        }
        if record.version:
            metadata["resourceVersion"] = record.version
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": RECORD_TYPE,
            "metadata": metadata,
            "data": encoded,
        }

    async def update(self, change: Callable[[Record], None]) -> None:
        """Change the record, creating it where there is none; a stale copy is read again at most 5 times."""
        async with self._writing:
            for _ in range(_REREADS + 1):
                record = self.record or Record(self.project, self.stack)
                change(record)
                try:
                    if record.version:
                        live = await self.api.replace(SECRETS, self._manifest(record))
                    else:
                        live = await self.api.create(SECRETS, self.namespace, self._manifest(record))
                except ApiError as error:
                    if error.status != CONFLICT:
                        raise explain_forbidden(error, self.namespace) from None
                    await self.read()
                    continue
                self.record = self._parse(live)
                return
            raise ClusterError(
                f"Secret {self.namespace}/{self.name} changes faster than it can be written; is another tool "
                "editing it?"
            )

    async def cover(self, group_kinds: Iterable[str], namespaces: Iterable[str]) -> None:
        """Widen the record so that objects of these kinds, in these namespaces, will be found again."""
        kinds, spaces = set(group_kinds), set(namespaces)
        record = self.record
        if record and kinds <= record.group_kinds and spaces <= record.namespaces:
            return

        def widen(record: Record) -> None:
            record.group_kinds |= kinds
            record.namespaces |= spaces

        await self.update(widen)

    async def delete(self) -> None:
        """Delete the record: the stack has nothing left here."""
        await self.api.delete(SECRETS, self.namespace, self.name, propagation="Background")
        self.record = None

    async def make_namespace(self, by: str, tell: Callable[[str], None]) -> None:
        """Make sure that the namespace is there, and mark it as being used, so that nobody removes it."""
        deadline = asyncio.get_running_loop().time() + _NAMESPACE_SECONDS
        told = False
        while True:
            live = await self.api.get(NAMESPACES, "", self.namespace)
            try:
                if live is None:
                    await self.api.create(NAMESPACES, "", self._namespace_manifest(by))
                    return
                if not live["metadata"].get("deletionTimestamp"):
                    patch = {"metadata": {"annotations": {_TOUCHED: by}}}
                    after = await self.api.merge(NAMESPACES, "", self.namespace, patch)
                    if not after["metadata"].get("deletionTimestamp"):
                        return
            except ApiError as error:
                if error.status == FORBIDDEN and live is not None:
                    return  # who may not mark it may not delete it either; the writes that follow will tell
                if error.status not in {CONFLICT, NOT_FOUND}:
                    raise explain_forbidden(error, self.namespace) from None
            if asyncio.get_running_loop().time() > deadline:
                raise ClusterError(f"namespace {self.namespace} has been terminating for a minute")
            if not told:
                tell(f"waiting for namespace {self.namespace}, which is being deleted")
            told = True
            await asyncio.sleep(0.2)

    def _namespace_manifest(self, by: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/managed-by": "berth"}
        metadata = {"name": self.namespace, "labels": labels, "annotations": {_TOUCHED: by}}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}

    async def remove_namespace_if_unused(self, tell: Callable[[str], None]) -> None:
        """Delete the namespace where no stack uses it: no record, no Lease, and not marked meanwhile."""
        live = await self.api.get(NAMESPACES, "", self.namespace)
        if live is None or live["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "berth":
            return
        async for _ in self.api.list(LEASES, self.namespace):
            return
        async for _ in self.api.list(SECRETS, self.namespace):
            return
        metadata = live["metadata"]
        unchanged = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        try:
            if not await self.api.delete(NAMESPACES, "", self.namespace, preconditions=unchanged):
                return  # somebody marked it, so it is used again; or it is gone
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            return
        # Whoever looks after a `down` finds nothing. It is no error when the cluster takes longer than that.
        tell(f"removing namespace {self.namespace}, which no stack uses any more")
        deadline = asyncio.get_running_loop().time() + _NAMESPACE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            after = await self.api.get(NAMESPACES, "", self.namespace)
            if after is None or after["metadata"]["uid"] != metadata["uid"]:
                return
            await asyncio.sleep(0.2)


def explain_forbidden(error: ApiError, namespace: str) -> Exception:
    """The same error, with what to do where it is one of permissions."""
    if error.status != FORBIDDEN:
        return error
    return ClusterError(
        f"{error}. The deployer keeps each stack's record and Lease in namespace {namespace}: it needs get, "
        "list, create, update and delete on secrets and on leases.coordination.k8s.io there, and create on "
        "namespaces where that one does not exist yet."
    )
