"""What changes between two versions of an object, what cannot change, and what only an `up` can know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import UNPROCESSABLE, ApiError
from .manifest import BOOKKEEPING, PART_OF
from .values import UNKNOWN, Path, Secret, mark_secrets, under

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVER_FIELDS = ("uid", "resourceVersion", "creationTimestamp", "generation")
# What only the API server decides, per kind, unless the program says it. `*` stands for every item.
_COMPUTED: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Service"): ("spec.clusterIP", "spec.clusterIPs", "spec.healthCheckNodePort"),
    ("", "PersistentVolumeClaim"): ("spec.volumeName",),
    ("", "Pod"): ("spec.nodeName", "spec.hostname"),
    ("", "ServiceAccount"): ("secrets",),
    ("batch", "Job"): ("spec.selector", "metadata.labels", "spec.template.metadata"),
    ("apiregistration.k8s.io", "APIService"): ("spec.caBundle",),
}
_HAVE_STATUS = frozenset(
    {
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "ReplicationController",
        "Service",
        "PersistentVolumeClaim",
        "PersistentVolume",
        "Pod",
        "Job",
        "CronJob",
        "Namespace",
        "Node",
        "Ingress",
        "NetworkPolicy",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "CustomResourceDefinition",
        "APIService",
        "ResourceQuota",
        "CertificateSigningRequest",
        "FlowSchema",
        "PriorityLevelConfiguration",
    }
)
_IMMUTABLE = re.compile(
    r"immutable|may not (be )?change|cannot change|can not change|updates to .* (are|is) forbidden"
    r"|updates to statefulset spec for fields other than|pod updates may not change",
    re.IGNORECASE,
)
_TOKEN_SECRET = "kubernetes.io/service-account-token"  # noqa: S105 - a Secret's type


class Change(NamedTuple):
    """One difference; `before` or `after` is None where the field is added or removed."""

    path: Path
    kind: str  # add, delete, update
    before: Any
    after: Any


def public(live: Mapping[str, Any]) -> dict[str, Any]:
    """A live object as the program sees it: without managed fields and without our bookkeeping."""
    result = {key: value for key, value in live.items() if not key.startswith("_")}
    metadata = {k: v for k, v in (live.get("metadata") or {}).items() if k != "managedFields"}
    for field, ours in (("annotations", BOOKKEEPING), ("labels", {PART_OF})):
        kept = {k: v for k, v in (metadata.get(field) or {}).items() if k not in ours}
        metadata.pop(field, None)
        if kept:
            metadata[field] = kept
    result["metadata"] = metadata
    return result


def _content(live: Mapping[str, Any]) -> dict[str, Any]:
    """What counts when two versions of an object are compared."""
    result = public(live)
    result.pop("status", None)
    result["metadata"] = {k: v for k, v in result["metadata"].items() if k not in _SERVER_FIELDS}
    return result


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every field that differs between two versions of one object, status and bookkeeping aside."""
    return sorted(_differences(_content(before), _content(after), ()), key=lambda c: [str(p) for p in c.path])


def _differences(before: Any, after: Any, path: Path) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if key not in after:
                yield Change((*path, key), "delete", before[key], None)
            elif key not in before:
                yield Change((*path, key), "add", None, after[key])
            else:
                yield from _differences(before[key], after[key], (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(old, new, (*path, index))
    else:
        yield Change(path, "update", before, after)


def wanted_changes(live: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Change]:
    """What the inputs alone say would change: for previews that cannot ask the API server.

    A default that the API server fills in is not seen as a change; a field that the program no longer
    sets is not seen at all.
    """
    return sorted(
        _wanted(_content(live), _content(manifest), ()), key=lambda change: [str(p) for p in change.path]
    )


def _wanted(live: Any, wanted: Any, path: Path) -> Iterator[Change]:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            if key in live:
                yield from _wanted(live[key], value, (*path, key))
            else:
                yield Change((*path, key), "add", None, value)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, value in enumerate(wanted):
            yield from _wanted(live[index], value, (*path, index))
    elif live != wanted:
        yield Change(path, "update", live, wanted)


def immutable_fields(error: ApiError) -> list[str]:
    """The fields because of which an update is impossible, so that only a replacement helps; or nothing.

    Nothing too where something else is wrong as well: a replacement would then delete the object and fail.
    """
    if error.status != UNPROCESSABLE or not error.causes:
        return []
    if not all(_IMMUTABLE.search(cause.get("message") or "") for cause in error.causes):
        return []
    return sorted({cause.get("field") or "spec" for cause in error.causes})


def _is_set(manifest: Mapping[str, Any], path: list[str]) -> bool:
    value: Any = manifest
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def with_unknowns(
    outputs: dict[str, Any], manifest: Mapping[str, Any], *, created: bool, changed: bool
) -> dict[str, Any]:
    """Predicted outputs with `UNKNOWN` wherever only the `up` can say.

    Nested leaves are named one by one: the SDK takes a missing nested property for None, and programs that
    join it to a string would fail in the preview.
    """
    if not changed:
        return outputs
    result = dict(outputs)
    fields = _SERVER_FIELDS if created else ("resourceVersion", "generation")
    result["metadata"] = {**(outputs.get("metadata") or {}), **dict.fromkeys(fields, UNKNOWN)}
    if "status" in outputs or manifest["kind"] in _HAVE_STATUS or "." in manifest["apiVersion"]:
        result["status"] = UNKNOWN
    if not created:
        return result
    group = manifest["apiVersion"].rpartition("/")[0]
    for dotted_path in _COMPUTED.get((group, manifest["kind"]), ()):
        parts = dotted_path.split(".")
        if not _is_set(manifest, parts):
            _set(result, parts, UNKNOWN)
    if manifest["kind"] == "Service":
        _unknown_node_ports(result, manifest)
    if manifest["kind"] == "Secret" and manifest.get("type") == _TOKEN_SECRET:
        result["data"] = Secret(UNKNOWN)
    return result


def _set(value: dict[str, Any], path: list[str], leaf: Any) -> None:
    for part in path[:-1]:
        inner = value.get(part)
        value[part] = dict(inner) if isinstance(inner, Mapping) else {}
        value = value[part]
    value[path[-1]] = leaf


def _unknown_node_ports(result: dict[str, Any], manifest: Mapping[str, Any]) -> None:
    spec, wanted = result.get("spec"), manifest.get("spec")
    if not isinstance(spec, Mapping) or not isinstance(wanted, Mapping):
        return
    if spec.get("type") not in {"NodePort", "LoadBalancer"} or not isinstance(spec.get("ports"), list):
        return
    given = wanted.get("ports")
    given = given if isinstance(given, list) else []
    ports = []
    for index, port in enumerate(spec["ports"]):
        fixed = index < len(given) and isinstance(given[index], Mapping) and "nodePort" in given[index]
        ports.append(port if fixed or not isinstance(port, Mapping) else {**port, "nodePort": UNKNOWN})
    result["spec"] = {**spec, "ports": ports}


def keep_live(manifest: Any, live: Any, path: Path) -> Any:
    """The manifest with what the path names taken from the live object, or left out where it is not there.

    This is `ignoreChanges`: the field stays as it is, whoever wrote it, and nobody loses its ownership.
    """
    head, rest = path[0], path[1:]
    if isinstance(manifest, list):
        indices = range(len(manifest)) if head == "*" else [head] if isinstance(head, int) else []
        return [
            _keep_item(item, live[i] if isinstance(live, list) and i < len(live) else None, rest)
            if i in indices
            else item
            for i, item in enumerate(manifest)
        ]
    if not isinstance(manifest, Mapping):
        return manifest
    there = live if isinstance(live, Mapping) else {}
    result = dict(manifest)
    for key in [*{**manifest, **there}] if head == "*" else [str(head)]:
        if rest and key in manifest:
            result[key] = keep_live(manifest[key], there.get(key), rest)
        elif not rest and key in there:
            result[key] = there[key]
        elif not rest:
            result.pop(key, None)
    return result


def _keep_item(item: Any, live: Any, rest: Path) -> Any:
    if rest:
        return keep_live(item, live, rest)
    return item if live is None else live


def veiled(value: Any, path: Path, roots: set[Path]) -> Any:
    """The value at a path with what is secret in it wrapped in `Secret`."""
    return Secret(value) if under(path, roots) else mark_secrets(value, roots, path)
