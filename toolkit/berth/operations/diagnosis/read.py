"""Looking at a stack: its objects, then the probes that they call for. Nothing is changed."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from berth.operations.diagnosis import probes
from berth.operations.diagnosis.facts import AskedServer, NotRead, SecretFacts, Snapshot
from berth.operations.diagnosis.pods import MODEL_SERVER, NAME, named_secrets
from berth.operations.errors import ClusterReadError, ClusterRefused
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from berth.operations.diagnosis.facts import Json

STATE_NAMESPACE = "berth-system"
"""Where the deployer keeps its record of a stack (docs/decisions/0002-deployer.md)."""
_OF_CLUSTER = {
    "nodes": "/api/v1/nodes",
    "apiservices": "/apis/apiregistration.k8s.io/v1/apiservices",
    "storageclasses": "/apis/storage.k8s.io/v1/storageclasses",
}
_OF_NAMESPACE = {
    "pods": "/api/v1/namespaces/{}/pods",
    "services": "/api/v1/namespaces/{}/services",
    "endpointslices": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "configmaps": "/api/v1/namespaces/{}/configmaps",
    "persistentvolumeclaims": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "resourcequotas": "/api/v1/namespaces/{}/resourcequotas",
    "events": "/api/v1/namespaces/{}/events",
    "deployments": "/apis/apps/v1/namespaces/{}/deployments",
    "replicasets": "/apis/apps/v1/namespaces/{}/replicasets",
    "statefulsets": "/apis/apps/v1/namespaces/{}/statefulsets",
    "daemonsets": "/apis/apps/v1/namespaces/{}/daemonsets",
    "horizontalpodautoscalers": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "poddisruptionbudgets": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "networkpolicies": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
_OF_KEDA = {"scaledobjects": "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects"}
_METRICS_GROUPS = ("external.metrics.k8s.io", "metrics.k8s.io", "custom.metrics.k8s.io")
_NOT_FOUND = ": 404: "


async def look(
    *,
    stack: str,
    record_name: str,
    site: str,
    kubeconfig: str,
    context: str,
    namespaces: Sequence[str],
    asked: Sequence[AskedServer],
    adapter: str,
    key: str | None = None,
    ca: Path | None = None,
) -> Snapshot:
    """Look at a stack at one site.

    Args:
        stack: its name.
        site: the site's.
        record_name: of the Secret that the deployer keeps in `STATE_NAMESPACE`.
        kubeconfig: path or contents.
        context: its name in there; "" is the current one.
        namespaces: where the settings put the stack; those of the deployer's record are looked at too.
        asked: its model servers at this site.
        adapter: namespace of the metrics adapter that it makes there, or "".
        key: an API key to ask endpoints with; None asks without.
        ca: as for `berth.operations.completion.ask`.

    A cluster that cannot be reached, or refuses what is asked, is no error here: see `Snapshot.not_read`.
    """
    empty = Snapshot(
        stack=stack,
        site=site,
        server=_where(kubeconfig, context),
        taken=datetime.now(UTC),
        namespaces=tuple(namespaces),
        asked=tuple(asked),
        adapter=adapter,
    )
    try:
        access = await read_access(kubeconfig, context)
    except ClusterReadError as error:
        return replace(empty, not_read=(NotRead("cluster", str(error)),))
    async with KubeReader(access) as reader:
        looking = _Look(reader, replace(empty, server=access.server))
        seen = await looking.objects(record_name)
        if not seen.reached:
            return seen
        return await probes.probe(reader, access, seen, key=key, ca=ca, kubeconfig=(kubeconfig, context))


def _where(kubeconfig: str, context: str) -> str:
    # Contents carry credentials; only a path may be shown.
    file = "the given kubeconfig" if "\n" in kubeconfig or "{" in kubeconfig else kubeconfig
    return f"{context or 'current context'} of {file}"


class _Look:
    def __init__(self, reader: KubeReader, seen: Snapshot) -> None:
        self._reader, self._seen = reader, seen
        self._not_read: list[NotRead] = []
        self._objects: dict[str, list[Json]] = {}

    async def objects(self, record_name: str) -> Snapshot:
        try:
            version = str((await self._reader.get("/version")).get("gitVersion") or "unknown")
        except ClusterReadError as error:
            return replace(self._seen, not_read=(NotRead("cluster", str(error)),))
        seen = self._seen
        record, namespaces = await self._record(record_name)
        wanted = dict.fromkeys([*seen.namespaces, *namespaces])
        # Who may read the stack's namespaces is not asked about KEDA where nothing is KEDA's.
        kinds = {**_OF_NAMESPACE, **(_OF_KEDA if any(one.keda for one in seen.asked) else {})}
        await asyncio.gather(
            *(self._list(plural, path) for plural, path in _OF_CLUSTER.items()),
            *(self._list(*each) for name in wanted for each in _lists(kinds, name)),
            self._namespaces(list(wanted)),
        )
        found = replace(
            seen,
            version=version,
            namespaces=tuple(wanted),
            record=record[0] if record else None,
            outputs=record[1] if record else {},
            objects={plural: tuple(map(_trimmed, items)) for plural, items in self._objects.items()},
        )
        secrets = await asyncio.gather(*(self._secret(*each) for each in sorted(named_secrets(found))))
        read = tuple(one for one in secrets if one is not None)
        return replace(found, secrets=read, not_read=tuple(self._not_read))

    async def _list(self, plural: str, path: str) -> None:
        try:
            items = await self._reader.list(path)
        except ClusterReadError as error:
            if _NOT_FOUND not in str(error):
                self._refused(f"{plural} ({path})", error)
            return
        if plural == "apiservices":
            items = [one for one in items if (one.get("spec") or {}).get("group") in _METRICS_GROUPS]
        self._objects.setdefault(plural, []).extend(items)

    async def _namespaces(self, names: list[str]) -> None:
        """One by one: who may read those of the stack need not be allowed to list all."""

        async def one(name: str) -> None:
            try:
                found = await self._reader.get(f"/api/v1/namespaces/{name}")
            except ClusterReadError as error:
                if _NOT_FOUND not in str(error):
                    self._refused(f"namespace {name}", error)
                return
            self._objects["namespaces"].append(found)

        self._objects["namespaces"] = []
        await asyncio.gather(*map(one, names))

    def _refused(self, what: str, error: ClusterReadError) -> None:
        self._not_read.append(NotRead(what, str(error), isinstance(error, ClusterRefused)))

    async def _record(self, name: str) -> tuple[tuple[dict[str, str], Json] | None, list[str]]:
        """The deployer's record: how the last run ended, the outputs, and the namespaces it covers."""
        path = f"/api/v1/namespaces/{STATE_NAMESPACE}/secrets/{name}"
        try:
            found = await self._reader.get(path)
        except ClusterReadError as error:
            if _NOT_FOUND not in str(error):
                self._refused(f"the deployer's record ({path})", error)
            return None, []
        notes = found["metadata"].get("annotations") or {}
        listed = str(notes.get("applyset.kubernetes.io/additional-namespaces") or "")
        data = found.get("data") or {}
        run = _decoded(data.get("run"))
        outputs = _decoded(data.get("outputs"))
        values = outputs.get("values") or {}
        kept = {name: values[name] for name in ("endpoints", "models", "monitoring") if name in values}
        facts = {key: str(value) for key, value in run.items()}
        # kube-system holds others' things; what the stack has there is a RoleBinding.
        spaces = [one for one in listed.split(",") if one and not one.startswith("kube-")]
        return (facts, kept), spaces

    async def _secret(self, namespace: str, name: str) -> SecretFacts | None:
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        try:
            found = await self._reader.get(path)
        except ClusterReadError as error:
            if _NOT_FOUND in str(error):
                return SecretFacts(namespace, name, None)
            self._refused(f"Secret {namespace}/{name}", error)
            return None
        # Only how long each is leaves this function.
        data = found.get("data") or {}
        return SecretFacts(
            namespace,
            name,
            {key: len(base64.b64decode(value or "").strip()) for key, value in data.items()},
        )


def _lists(kinds: Mapping[str, str], namespace: str) -> list[tuple[str, str]]:
    return [(plural, path.format(namespace)) for plural, path in kinds.items()]


def _decoded(value: str | None) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(value or "") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _trimmed(item: Json) -> Json:
    """An object without what no check reads, the fields of managers above all: their names and times stay."""
    metadata: Mapping[str, Any] = item["metadata"]
    notes = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if "last-applied" not in key and key not in {"berth.dev/urn", "berth.dev/depends-on"}
    }
    writers = [
        {
            "manager": one.get("manager"),
            "operation": one.get("operation"),
            "time": one.get("time"),
            "subresource": one.get("subresource", ""),
            "template": _writes_template(one.get("fieldsV1") or {}),
        }
        for one in metadata.get("managedFields") or []
    ]
    found = {**item, "metadata": {**metadata, "annotations": notes, "managedFields": writers}}
    if "data" in item and (metadata.get("labels") or {}).get(NAME) != MODEL_SERVER:
        # Dashboards, rules, and what others keep in ConfigMaps: large, and nobody's business here.
        found["data"] = {}
    spec = item.get("spec") or {}
    if "containers" in spec:
        found["spec"] = _without_values(spec)
    elif "spec" in (spec.get("template") or {}):
        template = spec["template"]
        found["spec"] = {**spec, "template": {**template, "spec": _without_values(template["spec"])}}
    return found


def _without_values(pod_spec: Json) -> Json:
    """A pod's spec without what may be a secret in the clear: values of variables, and command lines."""
    found = dict(pod_spec)
    for kind in ("initContainers", "containers"):
        if kind in pod_spec:
            found[kind] = [
                {
                    **{key: value for key, value in one.items() if key not in {"args", "command"}},
                    "env": [
                        {key: value for key, value in each.items() if key != "value"}
                        for each in one.get("env") or []
                    ],
                }
                for one in pod_spec[kind]
            ]
    return found


def _writes_template(fields: Mapping[str, Any]) -> bool:
    """Whether a writer owns anything of the pods' template but the time of `kubectl rollout restart`."""
    template = (fields.get("f:spec") or {}).get("f:template") or {}
    notes = ((template.get("f:metadata") or {}).get("f:annotations") or {}).keys()
    others = template.keys() - {".", "f:metadata"} or (template.get("f:metadata") or {}).keys() - {
        ".",
        "f:annotations",
    }
    return bool(others) or bool(notes - {".", "f:kubectl.kubernetes.io/restartedAt"})
