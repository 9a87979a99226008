"""What cannot be changed in place, as far as it is known without asking, and what is lost with an object.

For Kubernetes: the API server's own validation (kubernetes/kubernetes, pkg/apis/*/validation, 1.35), checked
by a test against a real API server. For other providers: what the installed SDK's own documentation says of a
property; where it says nothing, only the provider knows.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .model import Change, Reason, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAYBE = "may replace it: the provider decides"
JUST_MADE = "the Pulumi CLI may delete what it has just made"
_ALL = "*"
_API = "the API server does not change it in place"
_IDENTITY = ("metadata.name", "metadata.namespace")
# By kind: the paths that are immutable; `!` takes some out again.
IMMUTABLE: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "StatefulSet": (
        "spec",
        "!spec.replicas",
        "!spec.ordinals",
        "!spec.template",
        "!spec.updateStrategy",
        "!spec.revisionHistoryLimit",
        "!spec.persistentVolumeClaimRetentionPolicy",
        "!spec.minReadySeconds",
    ),
    "Service": ("spec.clusterIP", "spec.clusterIPs"),
    "PersistentVolumeClaim": (
        "spec",
        "!spec.resources",
        "!spec.volumeAttributesClassName",
    ),
    "Job": (
        "spec.template",
        "spec.selector",
        "spec.completions",
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
    ),
    "Pod": (
        "spec",
        "!spec.containers[].image",
        "!spec.initContainers[].image",
        "!spec.activeDeadlineSeconds",
        "!spec.tolerations",
        "!spec.terminationGracePeriodSeconds",
    ),
    "Secret": ("type",),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    "PriorityClass": ("value", "preemptionPolicy"),
    "RuntimeClass": ("handler",),
    "IngressClass": ("spec.controller",),
    "CustomResourceDefinition": ("spec.group", "spec.scope", "spec.names.plural", "spec.names.kind"),
    "EndpointSlice": ("addressType",),
    "ResourceClaim": ("spec",),
    "ResourceClaimTemplate": ("spec",),
    "VolumeAttributesClass": ("driverName", "parameters"),
}
_SEALED = {"ConfigMap": ("data", "binaryData", "immutable"), "Secret": ("data", "stringData", "immutable")}
# What a property's documentation says in any SDK where a change of it replaces the resource.
_DOCUMENTED = re.compile(
    r"forces? (?:a |the )?(?:new|replacement|re-?creation|the creation of a new)"
    r"|(?:must be|will be|is|be) (?:re-?created|replaced) (?:to modify|if|when|on change|whenever)"
    r"|chang\w+ this (?:\w+ )*(?:will )?(?:force|replace|re-?create|cause)\w* .*"
    r"(?:re-?creat|replac|new resource)",
    re.IGNORECASE,
)
_NOT_ALWAYS = frozenset({"tags", "tagsAll"})  # AWS tags everything in place
_LOST = {
    "Namespace": "everything in the namespace goes with it",
    "PersistentVolumeClaim": "the data in the volume may go with it (by its class's reclaim policy)",
    "PersistentVolume": "the data in the volume may go with it (by its reclaim policy)",
    "CustomResourceDefinition": "every object of that kind goes with it",
    "StatefulSet": "its pods are stopped; claims of volumes stay unless it says otherwise",
    "Secret": "what is in it is gone unless it is kept elsewhere",
}
_LOST_CLOUD = re.compile(
    r"^(?:aws|gcp|azure-native|azure)[^:]*:(?:[^:]*:)"
    r"(?:Bucket(?:V2)?|Volume|Disk|RegionDisk|FileSystem|Table|Instance|Database\w*|Key|CryptoKey|KeyRing|Repository"
    r"|Cluster|Secret|Snapshot|LogGroup|Topic|Queue)$"
)


def kind_of(type_: str) -> str:
    """A Kubernetes type's kind, nothing for another provider's."""
    return type_.rpartition(":")[2] if type_.startswith("kubernetes:") else ""


def lost_with(type_: str, op: str) -> str:
    """What goes when an object of a type is deleted or replaced, where that is more than the object."""
    if op not in {"delete", "replace"}:
        return ""
    if kind := kind_of(type_):
        return _LOST.get(kind, "")
    return "what it holds may be lost" if _LOST_CLOUD.match(type_) else ""


def reasons(before: Resource, after: Resource, changes: Iterable[Change]) -> tuple[Reason, ...]:
    """Why a change replaces a resource, or may."""
    found = list(_asked(after, changes := tuple(changes)))
    if kind := kind_of(after.type):
        found += _kubernetes(kind, before, changes)
    elif ":" in after.type and not after.type.startswith("pulumi:"):
        found += _provider(after.type, changes)
    by_path: dict[str, Reason] = {}
    for reason in sorted(found, key=lambda one: not one.certain):
        by_path.setdefault(reason.path, reason)
    return tuple(sorted(by_path.values(), key=lambda one: (not one.certain, one.path)))


def plain_path(path: str) -> str:
    """A path without what names the items of lists: `spec.containers[].image`."""
    path = re.sub(r"\((?:JSON|order)\)", "", path)
    return re.sub(r'\[(?!")[^\]]*\]', "[]", path)


def is_at(path: str, root: str) -> bool:
    """Whether a path is at or below another one, or above it."""
    if root == _ALL:
        return True
    plain, root = plain_path(path), re.sub(r"\[(?:\*|\d+)\]", "[]", root)
    return any(
        one == other or (one.startswith(other) and one[len(other)] in ".[(")
        for one, other in ((plain, root), (root, plain))
        if one and other
    )


def _asked(after: Resource, changes: tuple[Change, ...]) -> Iterator[Reason]:
    for change in changes:
        if any(is_at(change.path, path) for path in after.replace_on):
            yield Reason(change.path, "the program says so (replace_on_changes)")


def _kubernetes(kind: str, before: Resource, changes: tuple[Change, ...]) -> Iterator[Reason]:
    paths = IMMUTABLE.get(kind, ())
    sealed = _SEALED.get(kind, ()) if before.inputs.get("immutable") is True else ()
    for change in changes:
        if change.path in _IDENTITY:
            yield Reason(change.path, "it is another object then")
        elif any(is_at(change.path, path) for path in sealed):
            yield Reason(change.path, "the object is immutable")
        elif _is_immutable(change, paths):
            yield Reason(change.path, _API)


def _is_immutable(change: Change, paths: tuple[str, ...]) -> bool:
    plain = plain_path(change.path)
    free = any(plain == path or plain.startswith((f"{path}.", f"{path}[")) for path in _taken_out(paths))
    if free:
        return False
    return any(
        plain == path or plain.startswith((f"{path}.", f"{path}["))
        for path in paths
        if not path.startswith("!")
    )


def _taken_out(paths: tuple[str, ...]) -> Iterator[str]:
    return (path.removeprefix("!") for path in paths if path.startswith("!"))


def _provider(type_: str, changes: tuple[Change, ...]) -> Iterator[Reason]:
    documented = replacing_properties(type_)
    package = type_.partition(":")[0]
    for change in changes:
        top = re.split(r"[.\[(]", change.path, maxsplit=1)[0]
        if top in documented:
            yield Reason(change.path, f"by the documentation of {top} in the SDK of {package}")
        elif top not in _NOT_ALWAYS:
            yield Reason(change.path, MAYBE, certain=False)


@functools.cache
def replacing_properties(type_: str) -> frozenset[str]:
    """The properties of which the installed SDK says that a change replaces the resource.

    Read from its source, without importing it; nothing where there is no such SDK.
    """
    package, module, name = (*type_.split(":"), "", "")[:3]
    section, _, file = module.partition("/")
    try:
        spec = importlib.util.find_spec(f"pulumi_{package.replace('-', '_')}")
    except (ImportError, ValueError):
        return frozenset()
    if spec is None or not spec.origin:
        return frozenset()
    folder = Path(spec.origin).parent / (section if section != "index" else "")
    path = folder / f"{_snake(file or name)}.py"
    try:
        source = path.read_text()
    except OSError:
        return frozenset()
    arguments = source.partition(f"class {name}Args:")[2].partition("\nclass ")[0]
    getters = re.findall(
        r"@_builtins\.property\n    @pulumi\.getter(?:\(name=\"(\w+)\"\))?\n(?:    @[^\n]*\n)*"
        r"    def (\w+)\(self\)[^\n]*\n        \"\"\"(.*?)\"\"\"",
        arguments,
        re.DOTALL,
    )
    return frozenset(wire or own for wire, own, text in getters if _DOCUMENTED.search(" ".join(text.split())))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
